"""Values against the types of settings: every problem as one line, in the words of experiment files.

A line is the path, what is wrong, what is allowed, and the nearest spelling.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from orchestrator.architectures.table import VARIANTS
from orchestrator.experiment.foreign_words import ours_of_key, ours_of_value
from orchestrator.experiment.scalars import PYTHON_NULL
from orchestrator.spec.fields import SeveralProblems, to_json
from orchestrator.spec.json_values import json_problems
from orchestrator.spec.kinds import expected, hint_at, keys_of, literals, members, nearest_path
from orchestrator.text import did_you_mean, shown

T = TypeVar("T")
_CHOICES = ("constrained-", "literal[")  # how pydantic names the members of a union in a path
_UNIONS = ("int", "float", "str", "bool", "tuple", "dict")  # the same, of members without limits
_LIMITS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_MISSING = ("missing", "missing_argument")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def validated(kind: type[T], tree: Any) -> tuple[T | None, list[str]]:
    """The dataclass ``kind`` built from JSON values, or None, and what is wrong with them, one line each."""
    odd = dict(_truth_values(kind, tree))
    try:
        found: T = _adapter(cast(Any, kind)).validate_python(tree, strict=False)
    except ValidationError as error:
        return None, [*odd.values(), *_lines(kind, error.errors(include_url=False), set(odd))]
    return found, [*odd.values(), *json_problems(to_json(found))]  # lr: inf


def readable_parts(kind: type, tree: Any) -> dict[str, Any]:
    """Those settings of the dataclass ``kind`` that can be read from JSON values, or have a default."""
    parts, given = {}, tree if isinstance(tree, Mapping) else {}
    for field in dataclasses.fields(cast(Any, kind)):
        if field.name in given:
            with contextlib.suppress(ValidationError):
                parts[field.name] = _adapter(hint_at(kind, [field.name])).validate_python(given[field.name])
        elif field.default is not dataclasses.MISSING:
            parts[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            parts[field.name] = field.default_factory()
    return parts


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def unknown_networks(tree: Any) -> list[str]:
    """The variants of an experiment file that name no built-in network and no class, one line each."""
    variants = tree.get("variants") if isinstance(tree, Mapping) else None
    listed = enumerate(variants) if isinstance(variants, list) else ()
    names = [(i, one.get("name")) for i, one in listed if isinstance(one, Mapping)]
    return [
        f"variants.{i}: there is no variant {name!r}{did_you_mean(name, VARIANTS)}; built in: {', '.join(VARIANTS)}; "
        "name your own network as path/to/file.py:Class or package.module:Class"
        for i, name in names
        if isinstance(name, str) and name and ":" not in name and name not in VARIANTS
    ]


def _truth_values(root: type, tree: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every true or false where a number belongs, which Python would count as 1 or 0."""
    if isinstance(tree, bool):
        kinds = [kind for kind, _ in members(hint_at(root, place))]
        if bool not in kinds and (int in kinds or float in kinds):
            yield place, f"{'.'.join(place)}: must be {expected(hint_at(root, place))}, not {shown(tree)}"
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        if hint_at(root, inner := (*place, str(key))) not in (None, Any):
            yield from _truth_values(root, value, inner)


def _lines(root: type, errors: Sequence[Any], known: set[tuple[str, ...]]) -> list[str]:
    """One line for each place with errors, but for those that are ``known``."""
    by_place: dict[tuple[str, ...], list[Any]] = {}
    for error in errors:
        by_place.setdefault(_place(root, error), []).append(error)
    return [line for place, found in by_place.items() if place not in known for line in _of_place(root, place, found)]


def _of_place(root: type, place: Sequence[str], errors: Sequence[Any]) -> list[str]:
    """What is wrong at ``place``: one line, or of what a dataclass checks itself, one for each problem."""
    if errors[0]["type"] != "value_error":
        return [_line(root, place, errors) + _null(hint_at(root, place), errors[0]["input"])]
    error = errors[0]["ctx"]["error"]
    problems = error.problems if isinstance(error, SeveralProblems) else (str(error),)
    return [_located(root, place, problem) for problem in problems]


def _located(root: type, place: Sequence[str], problem: str) -> str:
    """``problem`` with its path, which goes on with the setting that it begins with, if it begins with one."""
    setting, colon, _ = problem.partition(":")
    kinds = [kind for kind, _ in members(hint_at(root, place)) if dataclasses.is_dataclass(kind)]
    begins = bool(colon) and any(setting.partition(".")[0].partition("[")[0] in keys_of(kind) for kind in kinds)
    between = ("." if begins else ": ") if place else ""
    return f"{'.'.join(place)}{between}{problem}"


def _place(root: type, error: Any) -> tuple[str, ...]:
    """Where the error is, without pydantic's names for the members of a union; of a list that lacks some, the list."""
    parts = [str(part) for part in error["loc"]]
    key = [parts.pop()] if error["type"] in _UNKNOWN else []  # as written, even if it looks like a union member
    place: list[str] = []
    for part in parts:
        is_member = part.startswith(_CHOICES) or part.split("[")[0] in _UNIONS
        if not is_member or hint_at(root, [*place, part]) is not None:
            place.append(part)
    if error["type"] == "missing" and place and isinstance(error["input"], (list, tuple)):
        place.pop()
    return (*place, *key)


def _line(root: type, place: Sequence[str], errors: Sequence[Any]) -> str:
    """What is wrong at ``place``: the path, what is wrong, what is allowed, the nearest spelling."""
    where = ".".join(part or "''" for part in place) or "the file"
    problem, hint = errors[0], hint_at(root, place)
    value, kind = problem["input"], problem["type"]
    if kind in _UNKNOWN:
        return f"{where}: {_unknown_key(root, place, value)}"
    if kind in _MISSING and not isinstance(value, (list, tuple)):
        return f"{where}: missing"
    if kind in _LIMITS and len(errors) == 1:
        given = float(value) if isinstance(value, str) else value  # a number in quotes
        limits = [limit.problem(given) for _, limit in members(hint) if limit is not None]
        said = next((words for words in limits if words is not None), f"must be {expected(hint)}")
        return f"{where}: {said}, not {shown(value)}"
    if (words := literals(hint)) and isinstance(value, str):
        if (ours := ours_of_value(place, value)) is not None:
            return f"{where}: {shown(value)}: here it is {ours}"
        if len(errors) == 1:
            allowed = ", ".join(words)
            return f"{where}: {shown(value)} is not allowed{did_you_mean(value, words)}; allowed: {allowed}"
        return f"{where}: must be {expected(hint)}, not {shown(value)}{did_you_mean(value, words)}"
    return f"{where}: must be {expected(hint, value) if place else expected(root)}, not {shown(value)}"


def _null(hint: Any, value: Any) -> str:
    """What Python's None is in a file, if it was written for it."""
    if value != PYTHON_NULL:
        return ""
    allowed = any(kind is type(None) for kind, _ in members(hint))
    return "; write null" if allowed else "; None is null in a file, and this setting needs a value"


def _unknown_key(root: type, place: Sequence[str], value: Any) -> str:
    *parents, key = place
    if (ours := ours_of_key(parents, key, value)) is not None:
        return f"here it is {ours}"
    kinds = [kind for kind, _ in members(hint_at(root, parents)) if dataclasses.is_dataclass(kind)]
    allowed = keys_of(kinds[0]) if kinds else []
    near = did_you_mean(key, allowed) or nearest_path(".".join(place), root) or nearest_path(key, root)
    return f"unknown key{near}; allowed: {', '.join(allowed)}"
