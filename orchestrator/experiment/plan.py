"""From an experiment to its plan: every trial fully specified, random draws included, before anything starts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.architectures import source_digest
from orchestrator.errors import ExperimentError
from orchestrator.experiment.overrides import put
from orchestrator.experiment.search_space import extremes, labels, sample_settings
from orchestrator.spec import Experiment, Plan, Search, TrialSpec
from orchestrator.spec.fields import to_json
from orchestrator.spec.trial import SEARCH

if TYPE_CHECKING:
    from orchestrator.contract import ContractCheck

MOST_IN_A_ROW = 50  # draws that break the contract before the search gives up
MOST_REPEATED = 1_000  # duplicate draws in a row after which the space counts as exhausted

# The contract limits that a trial's network breaks; called for every draw of a search.
Broken = Callable[[TrialSpec], "Sequence[ContractCheck]"]


def make_plan(experiment: Experiment, dataset_digest: str = "", broken: Broken = lambda _: ()) -> Plan:
    """Every trial of ``experiment``: seeds outermost, so that each variant starts early.

    The k-th sample is the same draw for every variant and seed, and all draws differ. A draw for which ``broken``
    returns anything for any variant is replaced; the plan counts those, and notes if the space has fewer settings than
    samples. ``trainer.threads: auto`` becomes a number in the plan, and ``resources.gpus: auto`` becomes 0 if every
    trial is to train on the CPU. Raises ExperimentError with every path that cannot be searched, or if no draw meets
    the contract.
    """
    experiment = _with_threads(experiment)
    samples: list[tuple[int | None, str, dict[str, Any]]] = [(None, "", {})]
    rejected = 0
    notes: tuple[str, ...] = ()
    if experiment.search is not None:
        settings, rejected, notes = _draw(experiment, experiment.search, dataset_digest, broken)
        samples = [(k, *named) for k, named in enumerate(zip(labels(settings), settings, strict=True))]
    trials = [
        replace(
            _trial(experiment, variant.name, variant.arguments, seed, dataset_digest, drawn),
            sample=sample,
            settings=drawn,
            settings_label=label,
            stage="" if sample is None else SEARCH,
        )
        for sample, label, drawn in samples
        for seed in experiment.seeds
        for variant in experiment.variants
    ]
    resources = experiment.resources
    if resources.gpus == "auto" and all(spec.trainer.device == "cpu" for spec in trials):
        resources = replace(resources, gpus=0.0)
    return Plan(
        experiment=replace(experiment, resources=resources),
        trials=tuple(trials),
        rejected_samples=rejected,
        notes=notes,
    )


def _with_threads(experiment: Experiment) -> Experiment:
    """``trainer.threads: auto`` as a number: it affects the last bits, so every specification contains it."""
    if experiment.trainer.threads != "auto":
        return experiment
    cpus = experiment.resources.cpus
    threads = 1 if isinstance(cpus, str) else max(1, int(cpus))
    return replace(experiment, trainer=replace(experiment.trainer, threads=threads))


def _trial(
    experiment: Experiment,
    variant: str,
    arguments: dict[str, Any],
    seed: int,
    dataset_digest: str,
    drawn: dict[str, Any],
) -> TrialSpec:
    """The specification with ``drawn`` applied. Raises ValueError, TypeError or IndexError if that is invalid."""
    spec = TrialSpec(
        variant=absolute(variant),
        arguments=arguments,
        source_digest=source_digest(variant),
        seed=seed,
        dataset=experiment.dataset,
        dataset_digest=dataset_digest,
        trainer=experiment.trainer,
    )
    if not drawn:
        return spec
    tree = to_json(spec)
    for path, value in drawn.items():
        put(tree, path, value)
    return TrialSpec.from_json(tree)


def _draw(
    experiment: Experiment, search: Search, dataset_digest: str, broken: Broken
) -> tuple[list[dict[str, Any]], int, tuple[str, ...]]:
    """The settings of every sample, the number of rejected draws, and notes for the user."""
    if problems := _forbidden(experiment, search):
        raise ExperimentError(experiment.name, problems)
    kept: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    rejected: list[list[tuple[str, ContractCheck]]] = []  # in a row
    all_rejected = repeated = 0
    for drawn in sample_settings(search):
        trials = [
            _trial(experiment, v.name, v.arguments, experiment.seeds[0], dataset_digest, drawn)
            for v in experiment.variants
        ]
        if (key := tuple(trial.identity() for trial in trials)) in seen:
            repeated += 1
            if repeated == MOST_REPEATED:
                break
            continue
        seen.add(key)
        repeated = 0
        if missed := [(trial.label, check) for trial in trials for check in broken(trial)]:
            all_rejected += 1
            rejected.append(missed)
            if len(rejected) == MOST_IN_A_ROW:
                raise ExperimentError(experiment.name, _hopeless(rejected))
            continue
        rejected.clear()
        kept.append(drawn)
        if len(kept) == search.samples:
            return kept, all_rejected, ()
    if not kept:
        raise ExperimentError(experiment.name, _hopeless(rejected))
    within = " that meet the contract" if all_rejected else ""
    count = f"{len(kept)} settings" if len(kept) > 1 else "1 setting"
    return kept, all_rejected, (f"search.space has only {count}{within}, not the {search.samples} requested samples",)


def _hopeless(rejected: "Sequence[Sequence[tuple[str, ContractCheck]]]") -> list[str]:
    """The limits that the draws in ``rejected`` broke, by variant, with the closest value of each; in words."""
    nearest: dict[tuple[str, str], ContractCheck] = {}
    count: dict[tuple[str, str], int] = {}
    for missed in rejected:
        for label, check in missed:
            place = label, check.name
            count[place] = count.get(place, 0) + 1
            if place not in nearest or _miss(check) < _miss(nearest[place]):
                nearest[place] = check
    lines = [
        f"{label}: {check.format()} in the closest of {count[label, name]} draws that break this limit"
        for (label, name), check in nearest.items()
    ]
    return [
        f"search.space: {len(rejected)} draws in a row broke the contract; widen the search space or the contract",
        *lines,
    ]


def _miss(check: "ContractCheck") -> float:
    """How far the value is from its limit; infinite if it is not a number."""
    value = min(check.value) if isinstance(check.value, tuple) else check.value
    if value is None or isinstance(value, bool):
        return float("inf")
    return abs(float(value) - check.limit)


def _forbidden(experiment: Experiment, search: Search) -> list[str]:
    """What is wrong with the searched paths and their values, one line each."""
    problems = []
    paths = sorted(search.space)
    for path in paths:
        if not path.startswith(("trainer.", "arguments.")):
            problems.append(f"search.space: {path} cannot be searched; paths start with trainer. or arguments.")
        elif path == "trainer.protocol":
            problems.append(f"search.space: {path} must be the same for all trials, otherwise they cannot be compared")
        elif inside := [other for other in paths if other.startswith(f"{path}.")]:
            problems.append(f"search.space: {path} and {', '.join(inside)}, part of it, cannot both be searched")
        else:
            problems += _values_that_do_not_fit(experiment, search, path)
    return problems


def _values_that_do_not_fit(experiment: Experiment, search: Search, path: str) -> list[str]:
    variant = experiment.variants[0]
    for value in extremes(search.space[path]):
        try:
            _trial(experiment, variant.name, variant.arguments, experiment.seeds[0], "", {path: value})
        except (ValueError, TypeError, IndexError) as problem:
            return [f"search.space: {path}: {problem}"]
    return []


def absolute(variant: str) -> str:
    """A user's own ``file.py:Class`` with the file's absolute path: workers run in other folders."""
    source, colon, name = variant.rpartition(":")
    return f"{Path(source).expanduser().resolve()}:{name}" if colon and source.endswith(".py") else variant
