"""Of a launch in rounds, what has ended: the whole rounds, and where the launch stands after some of them."""

from collections.abc import Collection, Mapping, Sequence

from orchestrator.spec import VerdictSettings, variant_label
from orchestrator.text import counted, duration
from orchestrator.verdict.comparing import Seeds
from orchestrator.verdict.sequential import Standing, standing


def stand(scores: Mapping[str, Seeds], seeds: Sequence[int], settings: VerdictSettings) -> Standing:
    """Where the launch stands after the rounds ``seeds``, all of whose trials have ended, by its own settings."""
    return standing(
        scores,
        seeds,
        margin=settings.margin,
        baseline=settings.baseline and variant_label(settings.baseline),
        confidence=settings.confidence,
        max_seeds=settings.max_seeds,
    )


def whole_rounds(
    scores: Mapping[str, Seeds], ended: Mapping[str, Collection[int]], seeds: Sequence[int], settings: VerdictSettings
) -> list[int]:
    """The first of the rounds ``seeds`` in which every variant that gets a seed has ``ended`` its trial, in order.

    ``scores`` and ``ended`` are by variant; a trial that failed has ended without a score.
    """
    whole: list[int] = []
    active: Sequence[str] = tuple(scores)
    for seed in seeds:
        if not active or not all(seed in ended[variant] for variant in active):
            break
        whole.append(seed)
        active = stand(scores, whole, settings).active
    return whole


def budget_spent(limit: float, gpu_seconds: float, number: int) -> str:
    """In words, that ``limit`` is reached after ``number`` rounds; nothing if it is not."""
    if gpu_seconds < limit:
        return ""
    rounds = counted(number, "round")
    return f"max_gpu_seconds ({duration(limit)}) is spent after {rounds}: {duration(gpu_seconds)} of GPUs"
