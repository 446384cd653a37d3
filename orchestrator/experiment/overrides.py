"""``--set a.b=value``: dotted overrides of an experiment file."""

import contextlib
import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.scalars import FREE, number, word_problem
from orchestrator.spec.json_values import DEEPEST, one_line


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``tree`` with each ``path=value`` applied; the value is read as JSON, else as in an
    experiment file: a list or mapping, a number such as .1, or text.

    Missing mappings along the path are created; a number in the path is an index of a list. Raises ExperimentError
    that lists every override that cannot be applied.
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
    try:
        return json.loads(text)
    except ValueError:  # a RecursionError is not caught: too deeply nested JSON is not text
        pass
    if text.startswith(("[", "{")):  # as in an experiment file: [stride, grouped_concat]
        with contextlib.suppress(ImportError):  # a trial trains with torch alone
            return _flow(text)
    if (read := number(text)) is not None:
        return read
    if not set(FREE).isdisjoint(path.split(".")) and (problem := word_problem(text)) is not None:
        raise ValueError(problem)
    return {"True": True, "False": False, "None": None}.get(text, text)


def _flow(text: str) -> Any:
    import yaml

    from orchestrator.experiment.yaml_loader import parse_unclear

    try:
        value, unclear = parse_unclear(text)
    except yaml.YAMLError as problem:
        reason = getattr(problem, "problem", None) or str(problem)  # without the place, which repeats the text
        raise ValueError(f"neither JSON nor YAML: {reason}") from problem
    if unclear:
        raise ValueError("; ".join(problem for _, problem in unclear))
    return value
