"""Reads an experiment file: safe YAML, strict keys, every problem at once with its place and the nearest spelling."""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import ExperimentError
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.spec import Experiment

LARGEST_FILE = 1_000_000  # bytes; an experiment file is a page of text


class _Loader(yaml.SafeLoader):
    """YAML without tags, that refuses a key given twice and reads 1e-3 as the number it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"keys are words, not {key!r}", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    text = str(loader.construct_scalar(node))
    try:
        return float(text.replace("_", ""))
    except ValueError:
        return loader.construct_yaml_float(node)


_Loader.add_implicit_resolver(
    "!exponent", re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)
_Loader.add_constructor("!exponent", _float)


def read_file(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in ``path`` with ``overrides`` applied; files that it names are found relative to it.

    Raises ExperimentError listing every problem.
    """
    experiment = read_experiment(apply_overrides(_load(path), overrides), str(path))
    if experiment.published_curve is None:
        return experiment
    curve = (path.parent / experiment.published_curve).resolve()
    if not curve.is_file():
        raise ExperimentError(str(path), [f"published_curve: there is no file {curve}"])
    return dataclasses.replace(experiment, published_curve=str(curve))


def read_experiment(tree: Any, source: str) -> Experiment:
    """An experiment from plain values. Raises ExperimentError listing every problem, under the name ``source``."""
    tree = _variants_by_name(tree)
    problems = _not_finite(tree)
    try:
        experiment = _adapter().validate_python(tree, strict=False)
    except ValidationError as error:
        problems += [_in_words(problem) for problem in error.errors(include_url=False)]
    if problems:
        raise ExperimentError(source, problems)
    return experiment


def json_schema() -> dict[str, Any]:
    """JSON schema of an experiment file, for editors."""
    schema = _adapter().json_schema()
    variants = schema["properties"]["variants"]
    variants["items"] = {"anyOf": [{"type": "string"}, variants["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _adapter() -> TypeAdapter[Experiment]:
    return TypeAdapter(Experiment)


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ExperimentError(str(path), [f"larger than {LARGEST_FILE:,} bytes: not an experiment file"])
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ExperimentError(str(path), [f"cannot be read: {problem.strerror}"]) from problem
    except UnicodeDecodeError as problem:
        raise ExperimentError(str(path), ["not UTF-8 text"]) from problem
    try:
        if any(isinstance(token, (yaml.AliasToken, yaml.AnchorToken)) for token in yaml.scan(text)):
            raise ExperimentError(str(path), ["YAML anchors and aliases are not used here; write values out"])
        tree = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ExperimentError(str(path), [where + str(getattr(problem, "problem", None) or problem)]) from problem
    except (ValueError, RecursionError) as problem:
        raise ExperimentError(str(path), [f"cannot be read as YAML: {type(problem).__name__}: {problem}"]) from problem
    if not isinstance(tree, dict):
        raise ExperimentError(str(path), ["empty, or not a mapping: it must start with `name: ...`"])
    return tree


def _variants_by_name(tree: Any) -> Any:
    """A variant may be written as its bare name."""
    if isinstance(tree, Mapping) and isinstance(tree.get("variants"), list):
        variants = [{"name": v} if isinstance(v, str) else v for v in tree["variants"]]
        return {**tree, "variants": variants}
    return tree


def _not_finite(tree: Any, where: str = "") -> list[str]:
    """YAML can say .nan and .inf; no setting means them."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return [f"{where}: must be a finite number, not {tree}"]
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for key, value in pairs for p in _not_finite(value, f"{where}.{key}" if where else str(key))]


def _in_words(problem: Any) -> str:
    """One of pydantic's problems as a line: the place, what is wrong, what is allowed, the nearest spelling."""
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("constrained-", "literal["))]
    where = ".".join(place) or "the file"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        allowed = _keys_at(place[:-1])
        return f"{where}: unknown key{_nearest(place[-1], allowed)}; allowed: {', '.join(allowed)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where}: missing"
    if problem["type"] == "literal_error":
        allowed = [word.strip(" '") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        value = problem["input"]
        return f"{where}: {value!r} is not allowed{_nearest(str(value), allowed)}; allowed: {', '.join(allowed)}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    value = repr(problem["input"])
    message = problem["msg"].replace("Input should be", "must be").replace("Input must be", "must be")
    return f"{where}: {message}, not {value if len(value) < 60 else value[:57] + '...'}"


def _keys_at(place: Sequence[str]) -> list[str]:
    """The keys that the dataclass at ``place`` in an experiment knows."""
    kind: Any = Experiment
    for name in place:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(name)
        else:  # a position in a list or a key of a mapping
            kind = typing.get_args(kind)[-1 if typing.get_origin(kind) is dict else 0]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next((k for k in typing.get_args(kind) if k is not type(None)), None)
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def _nearest(word: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, allowed, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
