"""From an experiment to its plan: every trial spelled out, random draws and all, before anything starts."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.architectures import source_digest
from orchestrator.errors import ExperimentError
from orchestrator.experiment.overrides import put
from orchestrator.spec import Distribution, Experiment, Plan, Search, TrialSpec
from orchestrator.spec.fields import to_plain

MOST_DRAWS = 1_000  # for one sample: past this, hardly any draw keeps the contract

# Whether a trial's network keeps the contract; told of every draw of a search.
Keeps = Callable[[TrialSpec], bool]


def make_plan(experiment: Experiment, dataset_digest: str = "", keeps_contract: Keeps | None = None) -> Plan:
    """Every trial of ``experiment``: seeds outermost, so that each variant is seen early.

    The k-th sample is the same draw for every variant and seed. A draw for which ``keeps_contract`` is false for
    any variant is drawn again; the plan counts those. ``trainer.threads: auto`` is a number in the plan, and
    ``resources.gpus: auto`` is 0 where every trial is to train on the CPU. Raises ExperimentError if a searched path
    does not exist or may not be searched.
    """
    experiment = _with_threads(experiment)
    samples: list[tuple[int | None, dict[str, Any]]] = [(None, {})]
    rejected = 0
    if experiment.search is not None:
        settings, rejected = _draw(experiment, experiment.search, dataset_digest, keeps_contract)
        samples = list(enumerate(settings))
    trials = [
        _trial(experiment, variant.name, variant.arguments, seed, dataset_digest, sample, drawn)
        for sample, drawn in samples
        for seed in experiment.seeds
        for variant in experiment.variants
    ]
    resources = experiment.resources
    if resources.gpus == "auto" and all(spec.trainer.device == "cpu" for spec in trials):
        resources = replace(resources, gpus=0.0)
    return Plan(experiment=replace(experiment, resources=resources), trials=tuple(trials), rejected_samples=rejected)


def _with_threads(experiment: Experiment) -> Experiment:
    """``trainer.threads: auto`` as a number: it decides the bits, so it is part of every trial's specification."""
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
    sample: int | None,
    drawn: dict[str, Any],
) -> TrialSpec:
    spec = TrialSpec(
        variant=absolute(variant),
        arguments=arguments,
        source_digest=source_digest(variant),
        seed=seed,
        sample=sample,
        dataset=experiment.dataset,
        dataset_digest=dataset_digest,
        trainer=experiment.trainer,
    )
    if not drawn:
        return spec
    plain = to_plain(spec)
    try:
        for path, value in drawn.items():
            put(plain, path, value)
        return TrialSpec.from_json(plain)
    except (ValueError, TypeError, IndexError) as problem:
        raise ExperimentError(experiment.name, [f"search.space: {problem}"]) from problem


def _draw(
    experiment: Experiment, search: Search, dataset_digest: str, keeps_contract: Keeps | None
) -> tuple[list[dict[str, Any]], int]:
    """The settings of every sample, and how many draws were rejected."""
    if problems := _forbidden(search):
        raise ExperimentError(experiment.name, problems)
    stream = random.Random(search.seed)
    kept: list[dict[str, Any]] = []
    rejected = 0
    while len(kept) < search.samples:
        drawn = {path: _value(distribution, stream) for path, distribution in sorted(search.space.items())}
        trials = [
            _trial(experiment, v.name, v.arguments, experiment.seeds[0], dataset_digest, len(kept), drawn)
            for v in experiment.variants
        ]
        if keeps_contract is None or all(map(keeps_contract, trials)):
            kept.append(drawn)
            continue
        rejected += 1
        if rejected >= MOST_DRAWS * search.samples:
            raise ExperimentError(
                experiment.name,
                [f"search.space: {rejected} draws in a row broke the contract; widen the one or the other"],
            )
    return kept, rejected


def _forbidden(search: Search) -> list[str]:
    """What is wrong with the searched paths, one line each."""
    problems = []
    for path in sorted(search.space):
        if not path.startswith(("trainer.", "arguments.")):
            problems.append(f"search.space: {path} cannot be searched; paths start with trainer. or arguments.")
        elif path == "trainer.protocol":
            problems.append(f"search.space: {path} is one for all trials, or they could not be compared")
    return problems


def _value(distribution: Distribution, stream: random.Random) -> Any:
    if distribution.uniform is not None:
        return stream.uniform(*distribution.uniform)
    if distribution.loguniform is not None:
        low, high = distribution.loguniform
        return math.exp(stream.uniform(math.log(low), math.log(high)))
    if distribution.randint is not None:
        return stream.randrange(*distribution.randint)
    return stream.choice(distribution.choice or ())


def absolute(variant: str) -> str:
    """A user's own ``file.py:Class`` with the file's whole path: workers stand in other folders."""
    source, colon, name = variant.rpartition(":")
    return f"{Path(source).expanduser().resolve()}:{name}" if colon and source.endswith(".py") else variant
