"""The specification of one trial: an experiment's variant with a seed and what a search has set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.architectures import digest_with, named_in
from orchestrator.experiment.overrides import put
from orchestrator.experiment.paths import absolute, absolute_references
from orchestrator.spec import Experiment, TrialSpec, Variant
from orchestrator.spec.fields import to_json


class Sources:
    """The digests of networks' sources as a launch finds them first.

    They stand for all of its trials, however late one is planned: of a network that is edited meanwhile, further trials
    fail, and are not mixed with those before the edit.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def digest(self, variant: str, arguments: Mapping[str, Any]) -> str:
        """Like :func:`source_digest`, as it was at first."""
        return digest_with(variant, named_in(arguments), self._known)


def trial_spec(
    experiment: Experiment,
    variant: Variant,
    seed: int,
    dataset_digest: str,
    settings: Mapping[str, Any],
    sources: Sources,
) -> TrialSpec:
    """The specification with ``settings`` applied. Raises ValueError, TypeError or IndexError if that is invalid."""
    spec = TrialSpec(
        variant=absolute(variant.name),
        as_=variant.as_ or "",
        arguments=variant.arguments,
        source_digest=sources.digest(variant.name, variant.arguments),
        seed=seed,
        dataset=experiment.dataset,
        dataset_digest=dataset_digest,
        trainer=experiment.trainer,
    )
    if settings:
        tree = to_json(spec)
        for path, value in settings.items():
            put(tree, path, value)
        spec = TrialSpec.from_json(tree)
        if named_in(spec.arguments) != named_in(variant.arguments):  # a class was drawn
            spec = replace(spec, source_digest=sources.digest(variant.name, spec.arguments))
    return replace(spec, arguments=absolute_references(spec.arguments))


def with_threads(experiment: Experiment) -> Experiment:
    """``trainer.threads: auto`` as a number: it affects the last bits, so every specification contains it."""
    if experiment.trainer.threads != "auto":
        return experiment
    cpus = experiment.resources.cpus
    threads = 1 if isinstance(cpus, str) else max(1, int(cpus))
    return replace(experiment, trainer=replace(experiment.trainer, threads=threads))
