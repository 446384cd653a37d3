"""Trials whose networks lie in another place than when they were trained: the same trials, with today's paths."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.experiment.distributions import recalled
from orchestrator.experiment.overrides import put
from orchestrator.experiment.paths import absolute, absolute_references
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.spec.fields import to_json
from orchestrator.spec.references import references

ARGUMENTS = "arguments"


def found_today(spec: TrialSpec, experiment: Experiment) -> TrialSpec:
    """``spec`` with its network, and classes in its arguments, where ``experiment`` has them today.

    As it is if they are not there either, and if it is no trial of that experiment, or of one with other arguments.
    """
    variant = next((variant for variant in experiment.variants if variant.label == spec.label), None)
    if variant is None:
        return spec
    try:
        settings = {path: _recalled(experiment, path, value) for path, value in spec.settings.items()}
        tree = {ARGUMENTS: to_json(variant)[ARGUMENTS]}
        for path, value in settings.items():
            if path.partition(".")[0] == ARGUMENTS:
                put(tree, path, value)
        arguments = absolute_references(tree[ARGUMENTS])
        today = replace(spec, variant=absolute(variant.name), arguments=arguments, settings=settings)
    except (ValueError, TypeError, IndexError):  # it was drawn from another space
        return spec
    return today if today.identity() == spec.identity() and missing_source(today) is None else spec


def missing_source(spec: TrialSpec) -> str | None:
    """The first file of the network and of classes in its arguments that is not there."""
    sources = (name.rpartition(":")[0] for name in (spec.variant, *references(spec.arguments)))
    return next((source for source in sources if source.endswith(".py") and not Path(source).is_file()), None)


def _recalled(experiment: Experiment, path: str, value: Any) -> Any:
    """A setting that was drawn, with classes as the search space has them today."""
    if experiment.search is None or path not in experiment.search.space or not any(references(value)):
        return value
    return recalled(experiment.search.space[path], value)
