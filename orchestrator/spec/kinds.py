"""The types of settings in the words of an experiment file: which settings there are, and what each may be."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from orchestrator.spec.fields import Range, key_of
from orchestrator.text import did_you_mean, either

_WORDS: Mapping[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}
_PLURAL = {int: "integers", float: "numbers", str: "texts"}


def expected(hint: Any, given: Any = None) -> str:
    """What values of the type ``hint`` are, such as ``an integer of at least 1, or auto``; ``given`` is shown in it.

    ``given`` is what stands there instead: what is text may be meant as the only one of a list, or as a name.
    """
    every = members(hint)
    shown = [member for member in every if member[0] is not type(None)] or every  # who writes a value wants no null
    kinds = [_expected(kind, limits, given) for kind, limits in shown]
    return either(list(dict.fromkeys(kinds)))


def _expected(kind: Any, limits: Range | None, given: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return either([str(word) for word in parts])
    if origin is tuple and parts[-1] is not ...:
        return f"a list of {len(parts)} {_PLURAL.get(parts[0], 'values')}"
    if origin is tuple:
        return f"a list, as [{given}]" if _is_word(given) else "a list"
    if dataclasses.is_dataclass(kind):
        keys = keys_of(kind)
        if "name" in keys and isinstance(given, str) and _is_word(given):
            return f"a mapping, as {{name: {given}}}"
        return f"a mapping with some of {', '.join(keys)}"
    if origin is dict:
        inside = "{}" if typing.get_origin(parts[1]) is dict else "..."
        return f"a mapping, as {{{given}: {inside}}}" if _is_word(given) else "a mapping"
    if kind is str and isinstance(given, (int, float)):
        return f'text, as "{str(given).lower()}"'
    words = _WORDS.get(kind, "a value")
    return f"{words} {limits.words()}" if limits is not None else words


def _is_word(given: Any) -> bool:
    return isinstance(given, (str, int, float)) and not isinstance(given, bool) and 0 < len(str(given)) <= 40


def members(hint: Any) -> list[tuple[Any, Range | None]]:
    """The types of which a value may be one, each with its limits."""
    if typing.get_origin(hint) is typing.Annotated:
        limits = next((limit for limit in hint.__metadata__ if isinstance(limit, Range)), None)
        return [(kind, inner or limits) for kind, inner in members(typing.get_args(hint)[0])]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [member for choice in typing.get_args(hint) for member in members(choice)]
    return [(hint, None)]


def literals(hint: Any) -> list[str]:
    """The words that a value of type ``hint`` may be, if there are such."""
    kinds = [kind for kind, _ in members(hint) if typing.get_origin(kind) is Literal]
    return [str(word) for kind in kinds for word in typing.get_args(kind)]


def keys_of(kind: Any) -> list[str]:
    """The keys of a dataclass in files, in their order."""
    return [key_of(field.name) for field in dataclasses.fields(kind)]


def hint_at(root: type, place: Sequence[str]) -> Any:
    """The type of what stands at ``place`` in a file of the dataclass ``root``; None if nothing can stand there."""
    hint: Any = root
    for name in place:
        found = [inside for kind, _ in members(hint) if (inside := _inside(kind, name)) is not None]
        if not found:
            return None
        hint = found[0]
    return hint


def _inside(kind: Any, name: str) -> Any:
    """The type of what stands under the key or index ``name`` in a value of type ``kind``; None if there is none."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return next((hint for field, hint in hints.items() if key_of(field) == name), None)
    if origin is dict:
        return parts[1]
    if origin is tuple and name.isdecimal():
        return parts[0] if parts[-1] is ... else parts[min(int(name), len(parts) - 1)]
    return Any if kind is Any else None


def paths(root: type, prefix: str = "") -> Iterator[str]:
    """The dotted path of every setting in a file of the dataclass ``root``, and of every group of them."""
    for name, hint in typing.get_type_hints(root, include_extras=True).items():
        path = f"{prefix}{key_of(name)}"
        yield path
        for kind, _ in members(hint):
            if dataclasses.is_dataclass(kind):
                yield from paths(typing.cast(type, kind), f"{path}.")


def nearest_path(path: str, root: type) -> str:
    """`` (did you mean trainer.optimizer.lr?)`` for ``lr`` or ``trainer.optimiser.lr``; nothing if none is similar."""
    every = list(paths(root))
    *_, last = path.split(".")
    by_end = [known for known in every if known.endswith(f".{path}")]
    same_name = [known for known in every if known.rpartition(".")[2] == last]
    near = by_end or difflib.get_close_matches(path, same_name, n=1) or same_name[: len(same_name) == 1]
    if near:
        return f" (did you mean {near[0]}?)"
    if whole := did_you_mean(path, every):
        return whole
    ends = {known.rpartition(".")[2]: known for known in reversed(every)}
    similar = difflib.get_close_matches(last, ends, n=1, cutoff=0.75)
    return f" (did you mean {ends[similar[0]]}?)" if similar else ""
