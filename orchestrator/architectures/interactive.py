"""The source of a class or function without a file, from a notebook or the script that runs, and of what it uses."""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any


def interactive_digest(network: Any) -> str:
    """sha256 (hexadecimal) of the source of ``network``, and of the classes and functions beside it that it uses."""
    digest = hashlib.sha256()
    for found in _used(network):
        digest.update(found.__qualname__.encode())
        for name, text in sorted(_texts(found)):
            digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def script_of(network: Any) -> Path | None:
    """The file of the script that runs, if ``network`` was defined in it; None if at a prompt or in a notebook."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file or not Path(file).is_file():
        return None
    script, places = Path(file).resolve(), {code.co_filename for code in _codes(network)}
    return script if not places or script in {Path(place).resolve() for place in places} else None


def _used(first: Any) -> list[Any]:
    """``first`` and what it uses, directly or through one another, of its module."""
    beside = vars(sys.modules[first.__module__]) if first.__module__ in sys.modules else {}
    taken = [first]
    for found in taken:  # grows
        names = {name for code in _codes(found) for name in _names(code)}
        names |= {base.__name__ for base in found.__bases__} if inspect.isclass(found) else set()
        for name in sorted(names):
            other = beside.get(name)
            is_own = getattr(other, "__module__", None) == first.__module__
            if is_own and (inspect.isclass(other) or inspect.isfunction(other)) and other not in taken:
                taken.append(other)
    return taken


def _functions(found: Any) -> Iterator[tuple[str, Any]]:
    """The function itself, or the methods of a class."""
    if inspect.isfunction(found):
        yield "", found
    elif inspect.isclass(found):
        for name, value in vars(found).items():
            plain = inspect.unwrap(getattr(value, "__func__", value))
            if inspect.isfunction(plain):
                yield name, plain


def _codes(found: Any) -> Iterator[CodeType]:
    return (function.__code__ for _, function in _functions(found))


def _names(code: CodeType) -> Iterator[str]:
    """Every global or attribute that ``code`` names, functions within it included."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _texts(found: Any) -> Iterator[tuple[str, str]]:
    for name, function in _functions(found):
        try:
            yield name, inspect.getsource(function)
        except (OSError, TypeError):
            yield name, repr((function.__code__.co_code, function.__code__.co_consts))
