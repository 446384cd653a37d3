"""Read an experiment file: safe YAML, strict keys; every problem at once, with its path and the nearest spelling."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from orchestrator import spec
from orchestrator.errors import ExperimentError
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.paths import CURVE, find_files, map_variants
from orchestrator.experiment.search_paths import searched_paths
from orchestrator.experiment.suggestions.refusals import refusals
from orchestrator.experiment.validation import readable_parts, unknown_networks, validated
from orchestrator.experiment.yaml_loader import parse_unclear
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.spec.descriptions import descriptions
from orchestrator.spec.json_values import json_problems, one_line
from orchestrator.spec.relations import relation_problems_of

LARGEST_FILE = 1_000_000  # bytes; an experiment file is a page of text
OLD_CURVE = "published_curve"  # what earlier versions called published.curve


def read_file(path: Path, overrides: Sequence[str] = (), log: Callable[[str], None] = lambda _: None) -> Experiment:
    """The experiment in ``path`` with ``overrides`` applied; its paths are then relative to the working directory.

    A path that the file has is looked for in the file's folder and then in the working directory, one of ``overrides``
    in the working directory first. ``log`` is told where both have one. Raises ExperimentError listing every problem.
    """
    beside, here = path.parent, Path()
    tree, unclear = _load(path)
    tree = find_files(tree, (beside, here), log)
    tree = find_files(apply_overrides(tree, overrides), (here, beside), log)
    try:
        experiment = read_experiment(tree, str(path))
    except ExperimentError as error:
        raise ExperimentError(str(path), [*unclear, *error.problems]) from error
    if unclear:
        raise ExperimentError(str(path), unclear)
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
    experiment, wrong = validated(Experiment, tree)
    problems += wrong
    if experiment is None:
        problems += relation_problems_of(readable_parts(Experiment, tree))
        problems += searched_paths(tree)
    elif experiment.search is not None:
        problems += refusals(experiment, experiment.search)
    if problems:
        problems += unknown_networks(tree)
    if experiment is None or problems:
        raise ExperimentError(source, [one_line(problem) for problem in dict.fromkeys(problems)])
    return experiment


def read_trial(tree: Any, source: str) -> TrialSpec:
    """A trial's specification from JSON values. Raises ExperimentError that lists every problem."""
    spec, problems = validated(TrialSpec, tree)
    problems = json_problems(tree) + problems
    if spec is None or problems:
        raise ExperimentError(source, [one_line(problem) for problem in dict.fromkeys(problems)])
    return spec


def json_schema() -> dict[str, Any]:
    """JSON schema of an experiment file, for editors and the documentation; every setting has a description."""
    schema = TypeAdapter(Experiment).json_schema()
    kinds = {kind.__name__: kind for kind in vars(spec).values() if isinstance(kind, type)}
    for part in (schema, *schema["$defs"].values()):
        for name, text in descriptions(kinds[part["title"]]).items():
            part["properties"][name]["description"] = text
    variants = schema["properties"]["variants"]
    variants["items"] = {"anyOf": [{"type": "string"}, variants["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _load(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The values in ``path``, and which of them were not read as written since they may mean two things."""
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
        tree, problems = parse_unclear(text)
    except yaml.MarkedYAMLError as problem:
        where = _place(problem.problem_mark) if problem.problem_mark else ""
        raise ExperimentError(str(path), [one_line(f"{where}{problem.problem}")]) from problem
    except yaml.YAMLError as problem:  # an invalid character; its position counts from the start
        line = text.count("\n", 0, getattr(problem, "position", 0)) + 1
        raise ExperimentError(str(path), [one_line(f"line {line}: {problem}")]) from problem
    if not isinstance(tree, dict):
        raise ExperimentError(str(path), ["empty or not a mapping; it must start with `name: ...`"])
    ordered = sorted(problems, key=lambda problem: problem[0].index)
    return tree, [one_line(f"{_place(mark)}{problem}") for mark, problem in ordered]


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
    taken = [v.get("as") or v["name"] for v in named]  # of any kind: what is no text is refused later

    def label(value: Any) -> Any:
        return labels.get(value, value) if isinstance(value, str) and value not in taken else value

    changed = dict(tree)
    if isinstance(verdict := tree.get("verdict"), Mapping) and "baseline" in verdict:
        changed["verdict"] = {**verdict, "baseline": label(verdict["baseline"])}
    if "search" in tree:
        changed["search"] = map_variants(tree["search"], label)
    return changed
