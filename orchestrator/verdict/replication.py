"""Is a published accuracy replicated: the mean over seeds against one number, within a margin."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean
from typing import Any

from orchestrator.verdict import rounding
from orchestrator.verdict.arguments import check_accuracies, check_confidence, check_margin
from orchestrator.verdict.comparing import NO_SPREAD, ONE_SEED, TOO_FEW_SEEDS
from orchestrator.verdict.planning import LEAST_SEEDS
from orchestrator.verdict.student import critical, lower_tail, no_spread, standard_error

NO_SEED = "no complete seed"


class Outcome(StrEnum):
    """What the seeds say of a published accuracy."""

    REPLICATED = "replicated"  # the mean is shown to be within the margin of it
    NOT_REPLICATED = "not replicated"  # it is significantly below, and not shown to be within the margin
    BETTER = "better"  # it is significantly above, and not shown to be within the margin
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Replication:
    """The mean over seeds against a published accuracy; all are fractions."""

    published: float
    margin: float
    n: int  # seeds
    mean: float | None  # None without any
    low: float | None = None  # Student's interval of the mean; None without a standard deviation
    high: float | None = None
    difference: float | None = None  # mean minus published
    decision: Outcome = Outcome.UNDECIDED
    confidence: float = 0.95
    reason: str | None = None  # why there is no interval or no decision

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "decision": str(self.decision)}


def replicate(scores: Sequence[float], published: float, margin: float, confidence: float = 0.95) -> Replication:
    """Compare ``scores``, the test accuracy of each seed, with a ``published`` one; everything is a fraction.

    Two one-sided t tests decide whether the mean is within ``margin`` of it, a two-sided one whether it differs; each
    at the level 1 - ``confidence``. Raises RequestError for arguments that make no sense.
    """
    check_confidence(confidence)
    check_margin(margin)
    check_accuracies("published accuracy", [("any", published)])
    scores = list(scores)  # an array or a Series is neither true nor false
    check_accuracies("scores", enumerate(scores))
    n, alpha = len(scores), 1 - confidence
    if not n:
        return Replication(published, margin, 0, None, confidence=confidence, reason=NO_SEED)
    center = fmean(scores)
    apart = center - published
    error = None if no_spread(scores) else standard_error([scores], rounding.least_variance(rounding.step(scores)))
    if error is None:
        reason = ONE_SEED if n < 2 else NO_SPREAD
        return Replication(published, margin, n, center, None, None, apart, Outcome.UNDECIDED, confidence, reason)
    se, df = error.value(), error.df()
    half = critical(df, alpha) * se
    different = abs(apart) > half
    within = lower_tail((abs(apart) - margin) / se, df) <= alpha
    decision = Outcome.UNDECIDED
    if n >= LEAST_SEEDS and within:
        decision = Outcome.REPLICATED
    elif n >= LEAST_SEEDS and different:
        decision = Outcome.BETTER if apart > 0 else Outcome.NOT_REPLICATED
    few = TOO_FEW_SEEDS if n < LEAST_SEEDS else None
    low, high = max(center - half, 0.0), min(center + half, 1.0)
    return Replication(published, margin, n, center, low, high, apart, decision, confidence, few)
