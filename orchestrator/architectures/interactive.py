"""The source of a class or function without a file, from a notebook or a prompt, and of whatever it uses.

What counts is what this process holds: the source of the class or function and of those that it uses, directly or
through one another, the values of globals, class attributes, defaults and closures, and the files of the user's own
modules. Of what is installed only the name counts.
"""

import dis
import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from orchestrator.architectures.files import package_digest, package_files
from orchestrator.architectures.loaded import is_installed, own_folder, refuse_edited, remember
from orchestrator.architectures.values import OpaqueValueError, as_text

LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
DEFINITIONS = (FunctionType, staticmethod, classmethod, property)


def interactive_digest(network: Any) -> str:
    """sha256 (hexadecimal) of the source of ``network``, and of all that it uses.

    Raises VariantError if a module of the user's was edited since it was imported.
    """
    return hashlib.sha256("\0".join(_Source(network).texts).encode()).hexdigest()


def opaque_values(network: Any) -> list[str]:
    """What ``network`` uses that its digest does not tell from others: names, with types."""
    return list(dict.fromkeys(_Source(network).opaque))


def script_of(network: Any) -> Path | None:
    """The file of the script that runs, if ``network`` was defined in it; None if at a prompt or in a notebook."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file or not Path(file).is_file():
        return None
    script, places = Path(file).resolve(), {code.co_filename for code in codes(network)}
    return script if not places or script in {Path(place).resolve() for place in places} else None


class _Source:
    """The ``texts`` of a class or function and of everything that it uses, in a constant order."""

    def __init__(self, first: Any) -> None:
        self.texts: list[str] = []
        self.opaque: list[str] = []
        self._waiting = [first]
        for found in self._waiting:  # grows
            self.texts.append(found.__qualname__)
            if inspect.isclass(found):
                self._read_class(found)
            else:
                self._read_function(found, found.__qualname__)

    def _read_class(self, found: type) -> None:
        self._add("bases", found.__bases__)
        for name, value in sorted(vars(found).items()):
            if name != "_abc_impl" and (not name.startswith("__") or isinstance(value, DEFINITIONS)):
                self._add(f"{found.__qualname__}.{name}", value)

    def _read_function(self, function: FunctionType, name: str) -> None:
        code = function.__code__
        if is_installed(code.co_filename):  # a decorator's
            self._add(f"what {name} wraps", getattr(function, "__wrapped__", None))
            return
        self.texts.append(_source(code))
        self._add_module(function.__globals__.get("__name__", ""))
        self._add(f"defaults of {name}", (function.__defaults__, function.__kwdefaults__))
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if variable != "__class__":
                with suppress(ValueError):  # it is empty
                    self._add(f"{variable} of {name}", cell.cell_contents)
        for variable in sorted(named(code, LOADS)):
            if variable in function.__globals__:
                self._add(variable, function.__globals__[variable])
        for module in sorted(named(code, ("IMPORT_NAME",))):
            self._add_module(module)

    def _add(self, name: str, value: Any) -> None:
        """Add the ``value`` of what is called ``name``."""
        try:
            self.texts.append(f"{name} {as_text(value, self._refer)}")
        except OpaqueValueError as problem:
            self.opaque.append(f"{name} ({problem})")

    def _refer(self, value: Any) -> str:
        """What stands for a module, class or function, whose source is added."""
        if isinstance(value, ModuleType):
            self._add_module(value.__name__)
            return value.__name__
        module = value.__module__ or ""
        if module != "__main__":
            self._add_module(module)
        elif not any(value is other for other in self._waiting):
            self._waiting.append(value)
        return f"{module}.{value.__qualname__}"

    def _add_module(self, name: str) -> None:
        """Add the files of the module or package called ``name`` and what they import, if it is the user's own."""
        if (root := own_folder(name)) is not None:
            top = name.partition(".")[0]
            remember(name)
            refuse_edited(name, package_files(root, top))
            self.texts.append(f"{top} {package_digest(root, top)}")


def is_same(one: Any, other: Any) -> bool:
    """Whether two classes or functions have the same content: IPython's autoreload updates the old one in place."""
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return _content_of_class(type("one", (), {"it": one})) == _content_of_class(type("one", (), {"it": other}))
    return inspect.isclass(one) and inspect.isclass(other) and _content_of_class(one) == _content_of_class(other)


def _content_of_class(found: type) -> dict[str, Any]:
    """What a class holds by name: a text where there is one, else the value itself."""
    content: dict[str, Any] = {"bases": [base.__qualname__ for base in found.__bases__]}
    for name, value in vars(found).items():
        if not name.startswith("__") or isinstance(value, DEFINITIONS):
            inner = [compiled(code) for code in codes(type("one", (), {name: value}))]
            try:
                defaults = (getattr(value, "__defaults__", None), getattr(value, "__kwdefaults__", None))
                content[name] = (inner, as_text(defaults if inner else value, lambda part: part.__name__))
            except OpaqueValueError:
                content[name] = value
    return content


def codes(found: Any) -> Iterator[CodeType]:
    """Those of :func:`functions`."""
    return (function.__code__ for function in functions(found))


def functions(found: Any) -> Iterator[FunctionType]:
    """The function itself, or the methods of a class, and what their decorators have wrapped."""
    for value in list(vars(found).values()) if inspect.isclass(found) else [found]:
        inner = value.fget if isinstance(value, property) else value
        if isinstance(value, (staticmethod, classmethod, MethodType)):  # no attribute of what is the user's
            inner = value.__func__
        if isinstance(inner, FunctionType):
            yield inner
            if isinstance(wrapped := inspect.unwrap(inner), FunctionType):
                yield wrapped


def named(code: CodeType, operations: tuple[str, ...]) -> set[str]:
    """The names that ``code`` uses by one of ``operations``, functions and classes within it included."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname in operations}
    return names.union(*(named(inner, operations) for inner in code.co_consts if isinstance(inner, CodeType)))


def _source(code: CodeType) -> str:
    """The text where a notebook keeps it; else what it was compiled to, because a file may have been edited since."""
    if "ipykernel" in code.co_filename or not Path(code.co_filename).exists():
        try:
            return inspect.getsource(code)
        except (OSError, TypeError):
            pass
    return compiled(code)


def compiled(code: CodeType) -> str:
    """What ``code`` does, without the places of its lines."""
    constants = [compiled(x) if isinstance(x, CodeType) else as_text(x, str) for x in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))
