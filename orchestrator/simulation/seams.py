"""What is compared with a simulated launch, the same one undisturbed, and how the end of either is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.spec import Experiment, Scheduler, variant_label
from orchestrator.spec.rounds import seeds_of_rounds
from orchestrator.verdict import SequentialDesign, Verdict, judge


def undisturbed(experiment: Experiment) -> Experiment:
    """The same experiment with every trial trained to its end, and every round with all variants."""
    whole = replace(experiment, scheduler=Scheduler(name="fifo"))
    settings, confirm = whole.verdict, whole.confirm
    if not settings.until_decided:
        return whole
    whole = replace(whole, verdict=replace(settings, until_decided=False, max_gpu_seconds=None))
    if confirm is None:
        return replace(whole, seeds=seeds_of_rounds(whole.seeds, settings.max_seeds))
    return replace(whole, confirm=replace(confirm, seeds=seeds_of_rounds(confirm.seeds, settings.max_seeds)))


def verdict_on(
    experiment: Experiment, scores: Mapping[str, Mapping[Any, float]], rounds: Sequence[int] | None
) -> Verdict:
    """The verdict on test accuracies (fractions) by variant and seed, reached as the experiment says.

    ``rounds``: the seeds of a launch in rounds, in order; None for any other launch.
    """
    settings = experiment.verdict
    baseline = settings.baseline and variant_label(settings.baseline)
    return judge(
        scores,
        baseline=baseline if baseline in scores else None,
        margin=settings.margin,
        confidence=settings.confidence,
        sequential=None if rounds is None else SequentialDesign(tuple(rounds), settings.max_seeds),
    )
