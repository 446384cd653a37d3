"""Ranges of settings, written next to their types, and reading JSON back without any library."""

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from orchestrator.errors import ExperimentError
from orchestrator.spec.json_values import json_problems, one_line
from orchestrator.text import shown

T = TypeVar("T")
_KIND_WORDS = {int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, or of a list's length, written as ``Annotated[int, Range(ge=1)]``.

    pydantic reads it through the hook below when an experiment file is parsed; :func:`check` reads it when a
    specification is built without pydantic. Both reject the same values.
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Put the limits into pydantic's own schema, so that its errors and its JSON schema know them."""
        schema = handler(source)
        target = schema["schema"] if schema["type"] == "nullable" else schema
        target.update({k: v for k, v in dataclasses.asdict(self).items() if v is not None})
        return schema

    def problem(self, value: float) -> str | None:
        """What is wrong with ``value``, or None."""
        wrong = [f"{word} {limit:g}" for limit, holds, word in self._limits() if not holds(value, limit)]
        return f"must be {' and '.join(wrong)}" if wrong else None

    def words(self) -> str:
        """The limits, such as ``of at least 0 and less than 1``."""
        said = " and ".join(f"{word} {_plain_number(limit)}" for limit, _, word in self._limits())
        return f"of {said}" if said.startswith("at ") else said

    def _limits(self) -> list[tuple[float, Callable[[float, float], bool], str]]:
        every = (
            (self.gt, operator.gt, "greater than"),
            (self.ge, operator.ge, "at least"),
            (self.lt, operator.lt, "less than"),
            (self.le, operator.le, "at most"),
        )
        return [(limit, holds, word) for limit, holds, word in every if limit is not None]


def _plain_number(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


class SeveralProblems(ExperimentError, ValueError):  # noqa: N818 - as pydantic wants it, a ValueError of what was given
    """Everything that is wrong with one part of a specification, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("settings", problems)

    def __str__(self) -> str:
        """Without a heading, since whoever reads the part says which it is."""
        return "; ".join(self.problems)

    def __reduce__(self) -> tuple[type["SeveralProblems"], tuple[tuple[str, ...]]]:  # type: ignore[override]
        return type(self), (self.problems,)


def check(settings: Any) -> None:
    """Raise ValueError, naming every field, if a number in the dataclass ``settings`` is outside its range."""
    kind: type = type(settings)
    problems = [p for name, hint in _ranged(kind).items() for p in _problems(hint, getattr(settings, name), name)]
    if problems:
        raise SeveralProblems(problems)


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields, with their ranges; a search reads thousands of specifications by them."""
    return typing.get_type_hints(kind, include_extras=True)


@functools.cache
def _ranged(kind: type) -> Mapping[str, Any]:
    """Those of the types that have a range somewhere."""
    return {name: hint for name, hint in _hints(kind).items() if _has_range(hint)}


def _has_range(hint: Any) -> bool:
    mine = any(isinstance(limit, Range) for limit in getattr(hint, "__metadata__", ()))
    return mine or any(_has_range(part) for part in typing.get_args(hint))


def _problems(hint: Any, value: Any, where: str) -> list[str]:
    """Every number in ``value`` that is outside a range that its type ``hint`` carries."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [p for choice in typing.get_args(hint) for p in _problems(choice, value, where)]
    if isinstance(value, tuple) and typing.get_origin(hint) is tuple:
        return [p for i, item in enumerate(value) for p in _problems(typing.get_args(hint)[0], item, f"{where}[{i}]")]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return []
    limits = [limit for limit in getattr(hint, "__metadata__", ()) if isinstance(limit, Range)]
    return [f"{where}: {problem}, not {shown(value)}" for limit in limits if (problem := limit.problem(value))]


def key_of(name: str) -> str:
    """The key of the field ``name`` in files: ``as`` of ``as_``, since Python reserves some words."""
    return name.removesuffix("_")


def to_json(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON values: tuples become lists."""
    kind: type = type(settings)
    return {key_of(name): _plain(getattr(settings, name)) for name in _names(kind)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return to_json(value) if dataclasses.is_dataclass(value) else value


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def from_json(kind: type[T], data: Any, where: str = "") -> T:
    """Build the dataclass ``kind`` from JSON values. Raises ValueError that names the invalid field."""
    where = where or kind.__name__
    if problems := json_problems(data, where):
        raise ValueError(one_line("; ".join(problems)))
    try:
        return typing.cast(T, _read(kind, data, where))
    except ValueError as problem:
        raise ValueError(one_line(str(problem))) from None


def _read(hint: Any, value: Any, where: str) -> Any:
    """One value, read as the type ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _read(arguments[0], value, where)
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(typing.cast(type, hint), value, where)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[0], bool):
            raise ValueError(f"{where}: {shown(value)} is not one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, not {shown(value)}")
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise ValueError(f"{where}: expected a mapping, not {shown(value)}")
        return {k: _read(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where}: expected {_KIND_WORDS[hint]}, not {shown(value)}")
    return value


def _read_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    problems = []
    for choice in choices:
        try:
            return _read(choice, value, where)
        except ValueError as problem:
            problems.append(str(problem))
    raise ValueError(problems[0])


def _read_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a mapping, not {shown(value)}")
    hints = _hints(kind)
    names = {key_of(name): name for name in hints}
    if unknown := sorted(set(value) - set(names)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; allowed: {', '.join(sorted(names))}")
    required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]
    if missing := [name for name in required if name not in value]:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    try:
        return kind(**{names[k]: _read(hints[names[k]], v, f"{where}.{k}") for k, v in value.items()})
    except ValueError as problem:
        text = str(problem)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from None


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
