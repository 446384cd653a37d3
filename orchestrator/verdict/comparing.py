"""One variant with its interval, and one pair of them: the difference of their means, its error; no decision yet."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from orchestrator.verdict import ranks, rounding
from orchestrator.verdict.result import VariantScore
from orchestrator.verdict.student import StandardError, critical, lower_tail, no_spread, standard_error, variance

ONE_SEED = "a variant with one seed: its spread is unknown"
TOO_FEW_SEEDS = "fewer than three seeds"
NO_SPREAD = "no spread between seeds: it says nothing about chance"
Seeds = Mapping[Any, float]  # accuracy (fraction) by seed


def score(variant: str, seeds: Seeds, grid: float, multiple: Callable[[int, StandardError], float]) -> VariantScore:
    """Mean, standard deviation, and an interval, which needs a spread.

    ``grid``: the step of which accuracies are multiples (fraction). ``multiple``: how many standard errors, of so many
    values, the interval reaches to each side; infinity for none.
    """
    values = list(seeds.values())
    if len(values) < 2:
        return VariantScore(variant, len(values), fmean(values) if values else None, None)
    center = fmean(values)
    error = None if no_spread(values) else standard_error([values], rounding.least_variance(grid))
    if error is None:
        return VariantScore(variant, len(values), center, 0.0)
    sd, half = math.sqrt(variance(values)), multiple(len(values), error) * error.value()
    if math.isinf(half):
        return VariantScore(variant, len(values), center, sd)
    return VariantScore(variant, len(values), center, sd, max(center - half, 0.0), min(center + half, 1.0))


def around(center: float, half: float | None) -> tuple[float | None, float | None]:
    """An interval around a difference, cut at the largest possible ones; None without ``half`` of its width."""
    return (None, None) if half is None else (max(center - half, -1.0), min(center + half, 1.0))


@dataclass(frozen=True)
class Evidence:
    """Variant ``a``, of the higher mean, against ``b``."""

    a: str
    b: str
    n: int  # pairs of seeds, or the smaller number of seeds
    paired: bool
    difference: float
    error: StandardError | None  # None: ``reason`` says why
    reason: str | None
    p_sign_flip: float | None
    p_a_beats_b: float

    @property
    def p(self) -> float | None:
        """Two-sided p value of no difference."""
        if self.error is None:
            return None
        return 2 * lower_tail(-abs(self.difference) / self.error.value(), self.error.df())

    def p_not_within(self, margin: float) -> float | None:
        """p value of a difference of at least ``margin`` either way: the larger one of two one-sided tests."""
        if self.error is None:
            return None  # a's mean is the higher one, so that the margin above is the nearer one
        return lower_tail((abs(self.difference) - margin) / self.error.value(), self.error.df())

    def half_width(self, alpha: float) -> float | None:
        """Half of the interval's width at the level 1 - ``alpha``, for other seeds."""
        return None if self.error is None else critical(self.error.df(), alpha) * self.error.value()


def gather(a: str, b: str, first: Seeds, second: Seeds, grid: float) -> Evidence:
    """Compare two variants: by seed if they have the same seeds, otherwise all runs of both (Welch's t).

    ``grid``: the step of which accuracies are multiples (fraction).
    """
    ones, others = list(first.values()), list(second.values())
    paired = first.keys() == second.keys()
    if paired:
        apart = [accuracy - second[seed] for seed, accuracy in first.items()]
        error = standard_error([apart], rounding.least_variance(grid, 2))
    else:
        apart = [one - other for one in ones for other in others]
        error = standard_error([ones, others], rounding.least_variance(grid))
    if no_spread(ones) and no_spread(others):  # nothing here is left to chance, so that it cannot be measured
        error = None
    n = min(len(ones), len(others))
    return Evidence(
        a,
        b,
        n,
        paired,
        fmean(ones) - fmean(others),
        error,
        (ONE_SEED if n < 2 else NO_SPREAD) if error is None else None,
        ranks.sign_flip(apart) if paired else None,
        ranks.wins(apart),
    )
