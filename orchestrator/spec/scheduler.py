"""The scheduler of an experiment: whether, and by which rule, trials are stopped early."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orchestrator.spec.fields import Range, check
from orchestrator.spec.recipe import STRICT, Count


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Whether trials are stopped early, by validation accuracy. Each variant's trials compete among themselves only."""

    __pydantic_config__ = STRICT

    name: Literal["fifo", "asha", "hyperband", "median"] = "fifo"
    """fifo trains every trial to its end. The others stop the worse trials of each variant early: asha by asynchronous
    successive halving, hyperband by several of these that begin later, median by the median stopping rule."""
    grace_period: Count = 1
    """asha, hyperband and median: every trial is trained for at least this long. Unit: epochs."""
    reduction_factor: Annotated[int, Range(ge=2)] = 3
    """asha and hyperband: one in this many trials continues at each rung, and the next rung is at this many times its
    epochs."""
    brackets: Annotated[int, Range(ge=1, le=10)] = 3
    """hyperband: how many halvings there are; in bracket s, from 0, trials are trained for at least grace_period ×
    reduction_factor^s epochs. Unit: brackets."""
    min_samples: Count = 3
    """median: with fewer other trials of the variant that have come as far, none is stopped. Unit: trials."""

    def __post_init__(self) -> None:
        check(self)
