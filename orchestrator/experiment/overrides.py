"""``--set a.b=value``: dotted overrides of an experiment file."""

import contextlib
import copy
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.scalars import FREE, plain_value
from orchestrator.spec.json_values import DEEPEST, one_line

_DELIMITED = ("[", "{", '"', "'")  # what YAML reads to its end, or not at all
_CUT = re.compile(r"(?:^|\s)#|[\r\n\x85\u2028\u2029]")  # where YAML ends a text without quotes, or its line


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``tree`` with each ``path=value`` applied; the value is JSON, or read as in an experiment file.

    Text that YAML cannot read, such as ``*`` or ``a: b``, is taken as it is; what a file would read as less than is
    written, such as ``a #b``, is refused with how to quote it. Missing mappings along the path are created; a number in
    the path is an index of a list. Raises ExperimentError that lists every override that cannot be applied.
    """
    result = copy.deepcopy(dict(tree))
    problems = []
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not all(path.split(".")):
            problems.append(one_line(f"--set {override}: write it as a.b=value"))
            continue
        try:
            put(result, path, _value(text, path))
        except (TypeError, IndexError, ValueError) as problem:
            problems.append(one_line(f"--set {override}: {problem}"))
        except RecursionError:
            problems.append(one_line(f"--set {path}: nested more than {DEEPEST} deep"))
    if problems:
        raise ExperimentError("command line", problems)
    return result


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set ``value`` at the dotted ``path``, in place."""
    *parents, last = path.split(".")
    place: Any = tree
    for name in parents:
        place = _enter(place, name, path)
    if isinstance(place, list):
        place[_position(place, last, path)] = value
    else:
        place[last] = value


def _enter(place: Any, name: str, path: str) -> Any:
    if isinstance(place, list):
        inside = place[_position(place, name, path)]
    else:
        inside = place.setdefault(name, {})
        if inside is None:
            inside = place[name] = {}
    if not isinstance(inside, (dict, list)):
        raise TypeError(f"{path}: {name} is {inside!r}, not a mapping or a list")
    return inside


def _position(place: list[Any], name: str, path: str) -> int:
    if not name.isdigit() or int(name) >= len(place):
        raise IndexError(f"{path}: {name} is not an index of a list of {len(place)}")
    return int(name)


def _value(text: str, path: str) -> Any:
    """``text`` as the value of the key at ``path`` in an experiment file; text that YAML cannot read is text."""
    with contextlib.suppress(ValueError):  # a RecursionError is not caught: too deeply nested JSON is not text
        return json.loads(text, parse_constant=_not_json, object_pairs_hook=_mapping)
    key = "value" if set(FREE).isdisjoint(path.split(".")) else FREE[0]
    written = text.lstrip(" \t").rstrip(" \t\r\n")
    try:
        return _yaml(written, key) if written.startswith(_DELIMITED) else _plain(written, key)
    except ImportError as problem:
        raise ValueError("not JSON, and without PyYAML nothing else with quotes or brackets is read") from problem
    except _UnclearTextError as problem:
        raise ValueError(f"{problem}; for text write --set {shlex.quote(f'{path}={problem.quoted}')}") from problem


def _plain(text: str, key: str) -> Any:
    """The value that ``text``, which has no quotes or brackets around it, is as that of ``key``."""
    if text and (cut := _CUT.search(text)):
        what = "what stands after # is a comment" if "#" in cut[0] else "lines of text are joined"
        raise _UnclearTextError(f"in YAML {what}", text)
    try:
        value = _yaml(text, key)
    except ImportError:  # a trial trains with torch alone
        return plain_value(text, free=key in FREE)
    except _NotYamlError:
        return text  # such as *, @home or a: b
    if isinstance(value, str) and value != text:  # | and > begin text on the lines below
        raise _UnclearTextError(f"in YAML that is {json.dumps(value)}", text)
    return value


def _yaml(text: str, key: str) -> Any:
    import yaml

    from orchestrator.experiment.yaml_loader import parse_unclear

    try:
        tree, unclear = parse_unclear(f"{key}: {text}")
    except yaml.YAMLError as problem:
        reason = getattr(problem, "problem", None) or str(problem)  # without the place, which repeats the text
        raise _NotYamlError(f"neither JSON nor YAML: {reason}", text) from problem
    if list(tree) != [key]:
        raise _NotYamlError("neither JSON nor YAML: more than one value", text)
    if unclear:
        raise ValueError("; ".join(problem for _, problem in unclear))
    return tree[key]


class _UnclearTextError(ValueError):
    """Text that a file would not read as it is written; ``quoted`` is how to write it."""

    def __init__(self, problem: str, text: str) -> None:
        super().__init__(problem)
        inside = text[1:-1]
        escapes = len(text) > 1 and text[0] == text[-1] == '"' and "\\" in text and not set("'\"") & set(inside)
        self.quoted = f"'{inside}'" if escapes else json.dumps(text, ensure_ascii=False)


class _NotYamlError(_UnclearTextError):
    """Text that is no YAML."""


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is listed twice")  # YAML says which
    return found
