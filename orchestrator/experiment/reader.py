"""Read an experiment file: safe YAML, strict keys; every problem at once, with its path and the nearest spelling."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from orchestrator import spec
from orchestrator.errors import ExperimentError
from orchestrator.experiment.foreign_words import ours_of_key, ours_of_value
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.paths import CURVE, find_files, map_variants
from orchestrator.experiment.yaml_loader import parse
from orchestrator.spec import Experiment
from orchestrator.spec.descriptions import descriptions
from orchestrator.spec.fields import key_of
from orchestrator.spec.json_values import json_problems, one_line
from orchestrator.text import did_you_mean

LARGEST_FILE = 1_000_000  # bytes; an experiment file is a page of text
OLD_CURVE = "published_curve"  # what earlier versions called published.curve
_CHOICES = ("constrained-", "literal[")  # how pydantic names the members of a union in a path


def read_file(path: Path, overrides: Sequence[str] = (), log: Callable[[str], None] = lambda _: None) -> Experiment:
    """The experiment in ``path`` with ``overrides`` applied; its paths are then relative to the working directory.

    A path that the file has is looked for in the file's folder and then in the working directory, one of ``overrides``
    in the working directory first. ``log`` is told where both have one. Raises ExperimentError listing every problem.
    """
    beside, here = path.parent, Path()
    tree = find_files(_load(path), (beside, here), log)
    tree = find_files(apply_overrides(tree, overrides), (here, beside), log)
    experiment = read_experiment(tree, str(path))
    published = experiment.published
    if published is None or published.curve is None:
        return experiment
    try:
        curve = Path(published.curve).expanduser().resolve()
        found = curve.is_file()
    except (OSError, RuntimeError) as problem:  # too long, circular links
        raise ExperimentError(str(path), [one_line(f"{CURVE}: {problem}")]) from problem
    if not found:
        missing = (beside / published.curve).resolve()
        raise ExperimentError(str(path), [one_line(f"{CURVE}: no such file: {missing}")])
    return dataclasses.replace(experiment, published=dataclasses.replace(published, curve=str(curve)))


def read_stored(tree: Any, source: str) -> Experiment:
    """An experiment as a launch's folder keeps it, also one that an earlier version wrote. Raises ExperimentError."""
    if isinstance(tree, Mapping) and OLD_CURVE in tree:
        curve = tree[OLD_CURVE]
        rest = {key: value for key, value in tree.items() if key != OLD_CURVE}
        tree = rest if curve is None else {**rest, "published": {"curve": curve}}
    return read_experiment(tree, source)


def read_experiment(tree: Any, source: str) -> Experiment:
    """An experiment from JSON values. Raises ExperimentError that lists every problem under the name ``source``."""
    tree = _labels_for_names(_variants_by_name(tree))
    problems = json_problems(tree)
    if isinstance(tree, Mapping) and OLD_CURVE in tree:
        problems.append(f"{OLD_CURVE}: is now published.curve; write `published: {{curve: {tree[OLD_CURVE]}}}`")
        tree = {key: value for key, value in tree.items() if key != OLD_CURVE}
    try:
        experiment = _adapter().validate_python(tree, strict=False)
    except ValidationError as error:
        problems += [_describe_error(problem) for problem in error.errors(include_url=False)]
    if problems:
        raise ExperimentError(source, [one_line(problem) for problem in problems])
    return experiment


def json_schema() -> dict[str, Any]:
    """JSON schema of an experiment file, for editors and the documentation; every setting has a description."""
    schema = _adapter().json_schema()
    kinds = {kind.__name__: kind for kind in vars(spec).values() if isinstance(kind, type)}
    for part in (schema, *schema["$defs"].values()):
        for name, text in descriptions(kinds[part["title"]]).items():
            part["properties"][name]["description"] = text
    variants = schema["properties"]["variants"]
    variants["items"] = {"anyOf": [{"type": "string"}, variants["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _adapter() -> TypeAdapter[Experiment]:
    return TypeAdapter(Experiment)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ExperimentError(str(path), [f"larger than {LARGEST_FILE:,} bytes: not an experiment file"])
        text = content.decode("utf-8")
    except OSError as problem:
        raise ExperimentError(str(path), [f"cannot be read: {problem.strerror}"]) from problem
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise ExperimentError(str(path), [f"line {line}: not UTF-8 text"]) from problem
    except ValueError as problem:  # a path with NUL
        raise ExperimentError(one_line(str(path)), ["cannot be read: not a path"]) from problem
    try:
        tree = parse(text)
    except yaml.MarkedYAMLError as problem:
        where = _place(problem.problem_mark) if problem.problem_mark else ""
        raise ExperimentError(str(path), [one_line(f"{where}{problem.problem}")]) from problem
    except yaml.YAMLError as problem:  # an invalid character; its position counts from the start
        line = text.count("\n", 0, getattr(problem, "position", 0)) + 1
        raise ExperimentError(str(path), [one_line(f"line {line}: {problem}")]) from problem
    if not isinstance(tree, dict):
        raise ExperimentError(str(path), ["empty or not a mapping; it must start with `name: ...`"])
    return tree


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: "


def _variants_by_name(tree: Any) -> Any:
    """Accept a variant that is written as its bare name."""
    if isinstance(tree, Mapping) and isinstance(tree.get("variants"), list):
        variants = [{"name": v} if isinstance(v, str) else v for v in tree["variants"]]
        return {**tree, "variants": variants}
    return tree


def _labels_for_names(tree: Any) -> Any:
    """Where a setting says which variant it means by the name of its class, that variant's own name, if it has one."""
    if not isinstance(tree, Mapping) or not isinstance(tree.get("variants"), list):
        return tree
    named = [v for v in tree["variants"] if isinstance(v, Mapping) and isinstance(v.get("name"), str)]
    names = [variant["name"] for variant in named]
    labels = {v["name"]: v["as"] for v in named if isinstance(v.get("as"), str) and names.count(v["name"]) == 1}
    taken = {v.get("as") or v["name"] for v in named}

    def label(value: Any) -> Any:
        return labels.get(value, value) if isinstance(value, str) and value not in taken else value

    changed = dict(tree)
    if isinstance(verdict := tree.get("verdict"), Mapping) and "baseline" in verdict:
        changed["verdict"] = {**verdict, "baseline": label(verdict["baseline"])}
    if "search" in tree:
        changed["search"] = map_variants(tree["search"], label)
    return changed


def _describe_error(problem: Any) -> str:
    """One of pydantic's errors as a line: the path, what is wrong, what is allowed, the nearest spelling."""
    unknown = problem["type"] in ("unexpected_keyword_argument", "extra_forbidden")
    place = [str(part) or "''" for part in problem["loc"]]
    key = [place.pop()] if unknown else []  # as written, even if it looks like a union member
    place = [part for part in place if not part.startswith(_CHOICES)] + key
    where = ".".join(place) or "the file"
    if unknown:
        if (ours := ours_of_key(place[:-1], place[-1], problem["input"])) is not None:
            return f"{where}: here it is {ours}"
        allowed = _keys_at(place[:-1])
        return f"{where}: unknown key{did_you_mean(place[-1], allowed)}; allowed: {', '.join(allowed)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where}: missing"
    if problem["type"] == "literal_error":
        allowed = [word.strip(" '") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        value = problem["input"]
        if (ours := ours_of_value(place, value)) is not None:
            return f"{where}: {_shown(value)}: here it is {ours}"
        near = did_you_mean(value, allowed) if isinstance(value, str) else ""
        return f"{where}: {_shown(value)} is not allowed{near}; allowed: {', '.join(allowed)}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    if problem["type"] == "dataclass_type":
        keys = _keys_at(place)
        return f"{where}: must be a mapping with some of {', '.join(keys)}, not {_shown(problem['input'])}"
    message = problem["msg"].replace("Input should be", "must be").replace("Input must be", "must be")
    return f"{where}: {message}, not {_shown(problem['input'])}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or very deep nesting
        return "what was given"
    return text if len(text) < 60 else text[:57] + "..."


def _keys_at(place: Sequence[str]) -> list[str]:
    """The keys of the dataclass at ``place`` in an experiment."""
    kind: Any = Experiment
    for name in place:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(name)
        else:  # an index of a list or a key of a mapping
            kind = typing.get_args(kind)[-1 if typing.get_origin(kind) is dict else 0]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next((k for k in typing.get_args(kind) if k is not type(None)), None)
    return [key_of(field.name) for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
