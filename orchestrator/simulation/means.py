"""Means over replays with their standard errors, and whether two plans differ in the same worlds."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from orchestrator.simulation.figures import Choice, Figures
from orchestrator.verdict.student import critical, no_spread, standard_error

LEVEL = 0.05  # probability of calling two equal plans different


@dataclass(frozen=True)
class Mean:
    """Of one figure over ``n`` replays, which are independent."""

    mean: float
    standard_error: float | None  # None: of one replay
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], None, 1)
        error = standard_error([values], 0.0)
        return cls(fmean(values), 0.0 if error is None else error.value(), len(values))

    @property
    def is_distinguishable(self) -> bool:
        """Whether it differs from 0, by a two-sided t test at 5 %."""
        if self.standard_error is None or no_spread([0.0, self.mean]):
            return False
        return abs(self.mean) > critical(self.n - 1, LEVEL) * self.standard_error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "distinguishable": self.is_distinguishable}


def mean_regret(replays: Sequence[Figures]) -> Mean | None:
    """How far the chosen settings lie below the truly best tried (fraction), by replay; None without a search.

    The variants of one replay are no independent values: their mean is one.
    """
    found = [fmean(map(_regret, one.choices.values())) for one in replays if one.choices]
    return Mean.of(found) if found else None


def lost(planned: Sequence[Figures], whole: Sequence[Figures]) -> Mean | None:
    """Regret of ``planned`` minus that of ``whole``, replays of the same worlds in order; None without a search.

    Both choices are held against the same best settings, also where the two have not tried the same ones: a search
    whose suggestions depend on results is not praised for having tried worse ones.
    """
    found = []
    for one, other in zip(planned, whole, strict=True):
        shared = [variant for variant in one.choices if variant in other.choices]
        if shared:
            found.append(math.fsum(other.choices[v].truth - one.choices[v].truth for v in shared) / len(shared))
    return Mean.of(found) if found else None


def _regret(choice: Choice) -> float:
    return choice.best_tried - choice.truth
