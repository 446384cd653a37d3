"""The statistics of the verdict: which differences in accuracy are more than the chance of seeds and pictures.

Networks are compared by their mean test accuracy over seeds. Two chances blur it: another seed would train other
weights, and other test pictures would be right or wrong. docs/verdict.md derives the intervals and says how often they
are wrong.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.verdict.studentized_range import critical

LEVEL = 0.95  # of all intervals together
POWER_QUANTILE = 0.8416  # of the normal distribution, at 0.8: how often a difference that is there is to be seen
MOST_SEEDS = 100  # advice beyond this helps nobody
ONE_SEED = "one seed"  # why nothing is known of chance: the seeds' spread takes two
NO_SPREAD = "no spread"  # or equal accuracies at every seed, which are luck and not certainty
Right = NDArray[np.bool_]  # (n, N): by seed, by test picture


@dataclass(frozen=True)
class Sample:
    """One variant's complete trials: accuracies (n,) as fractions and, where it is known, which pictures were right."""

    variant: str
    accuracies: Sequence[float]
    right: Right | None = None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return math.fsum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class Difference:
    """How far ``variant`` lies behind ``best``, as fractions; the bounds hold for all differences together."""

    best: str
    variant: str
    difference: float
    low: float | None = None  # None where nothing is known of chance
    high: float | None = None
    unknown: str | None = None  # why there are no bounds: ONE_SEED or NO_SPREAD
    pictures: int | None = None  # test pictures whose chance is in the interval; None: that of the seeds alone
    seeds_to_tell: int | None = None  # for each variant, were the difference what it seems; None: more than 100, or any

    @property
    def told_apart(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.low > 0


def differences(samples: Sequence[Sample]) -> list[Difference]:
    """Every other variant against the one with the best mean, the nearest first."""
    best, *others = sorted(samples, key=lambda sample: -sample.mean)
    groups = sum(len(sample.accuracies) > 1 for sample in samples)
    return [_difference(best, other, groups) for other in others]


def _difference(best: Sample, other: Sample, groups: int) -> Difference:
    found = Difference(best.variant, other.variant, best.mean - other.mean)
    if min(len(best.accuracies), len(other.accuracies)) < 2:
        return replace(found, unknown=ONE_SEED)
    chance = _chance(best, other)
    if chance.seeds + chance.pictures == 0:
        return replace(found, unknown=NO_SPREAD)
    half = chance.half_width(groups)
    low, high = max(found.difference - half, -1.0), min(found.difference + half, 1.0)
    present = min(len(best.accuracies), len(other.accuracies))
    seeds = None if low > 0 else _seeds_to_tell(found.difference, chance, groups, present)
    return replace(found, low=low, high=high, pictures=chance.count, seeds_to_tell=seeds)


@dataclass(frozen=True)
class _Chance:
    """The variance of a difference of two means, by where it comes from."""

    seeds: float
    df: float  # degrees of freedom with which the seeds' variance is known; the pictures' are many
    pictures: float
    count: int | None  # of test pictures
    one_seed: float  # the seeds' variance with one seed for each variant
    df_each: float  # degrees of freedom that each further seed of both would give: 1, if one spreads alone, to 2

    def half_width(self, groups: int) -> float:
        """Of the interval that holds together with those of all pairs of ``groups`` variants."""
        seeds = critical(LEVEL, groups, self.df) ** 2 * self.seeds if self.seeds else 0.0
        return math.sqrt((seeds + critical(LEVEL, groups, math.inf) ** 2 * self.pictures) / 2)


def _chance(first: Sample, second: Sample) -> _Chance:
    """Welch's variance and degrees of freedom for the seeds, McNemar's variance for the pictures both have seen."""
    seeds = doubt = one_seed = squares = pictures = 0.0
    count = None
    for accuracies in (first.accuracies, second.accuracies):
        spread = statistics.variance(accuracies)  # exact: that of equal accuracies is 0, without rounding
        one_seed += spread
        squares += spread**2
        seeds += spread / len(accuracies)
        doubt += (spread / len(accuracies)) ** 2 / (len(accuracies) - 1)
    if first.right is not None and second.right is not None:
        apart = first.right.mean(axis=0) - second.right.mean(axis=0)  # (N,)
        count = len(apart)
        pictures = float(np.var(apart)) / max(count - 1, 1)
    df, df_each = (seeds**2 / doubt, one_seed**2 / squares) if doubt else (math.inf, math.inf)
    return _Chance(seeds, df, pictures, count, one_seed, df_each)


def _seeds_to_tell(difference: float, chance: _Chance, groups: int, present: int) -> int | None:
    """Seeds for each of two variants, more than ``present``, that tell such a difference apart four times in five."""

    def suffices(count: int) -> bool:
        planned = replace(chance, seeds=chance.one_seed / count, df=chance.df_each * (count - 1))
        deviation = math.sqrt(planned.seeds + planned.pictures)
        return planned.half_width(groups) + POWER_QUANTILE * deviation <= difference

    if present >= MOST_SEEDS or not suffices(MOST_SEEDS):
        return None
    counts = range(present + 1, MOST_SEEDS)
    return present + 1 + bisect_left(counts, True, key=suffices)
