"""The statistics of the verdict: which differences in accuracy are significant, over seeds and test images.

Networks are compared by their mean test accuracy over seeds. It has two sources of random error: other seeds would
train other weights, and other test images would be classified correctly. docs/verdict.md derives the intervals and
reports how often they are wrong.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.comparison.studentized_range import critical

LEVEL = 0.95  # simultaneous, of all intervals
POWER_QUANTILE = 0.8416  # of the normal distribution at 0.8: the power with which an existing difference is found
MOST_SEEDS = 100  # no advice beyond this
ONE_SEED = "one seed"  # reason for no interval: a spread needs two seeds
NO_SPREAD = "no spread"  # or equal accuracies for every seed, which are luck and not certainty
Right = NDArray[np.bool_]  # (n, N): by seed, by test image


@dataclass(frozen=True)
class Sample:
    """One variant's complete trials: accuracies (n,) as fractions and, where it is known, which images were right."""

    variant: str
    accuracies: Sequence[float]
    right: Right | None = None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return math.fsum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class Difference:
    """How far ``variant`` is behind ``best``, as fractions; the bounds hold simultaneously for all differences."""

    best: str
    variant: str
    difference: float
    low: float | None = None  # None without an interval
    high: float | None = None
    unknown: str | None = None  # the reason for no bounds: ONE_SEED or NO_SPREAD
    images: int | None = None  # number of test images that the interval covers; None: it covers seeds only
    seeds_to_tell: int | None = None  # per variant, to confirm this difference; None: more than 100, or unknown

    @property
    def told_apart(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.low > 0


def differences(samples: Sequence[Sample]) -> list[Difference]:
    """Every other variant compared with the one with the best mean, the closest first."""
    best, *others = sorted(samples, key=lambda sample: -sample.mean)
    groups = sum(len(sample.accuracies) > 1 for sample in samples)
    return [_difference(best, other, groups) for other in others]


def _difference(best: Sample, other: Sample, groups: int) -> Difference:
    found = Difference(best.variant, other.variant, best.mean - other.mean)
    if min(len(best.accuracies), len(other.accuracies)) < 2:
        return replace(found, unknown=ONE_SEED)
    chance = _chance(best, other)
    if chance.seeds + chance.images == 0:
        return replace(found, unknown=NO_SPREAD)
    half = chance.half_width(groups)
    low, high = max(found.difference - half, -1.0), min(found.difference + half, 1.0)
    present = min(len(best.accuracies), len(other.accuracies))
    seeds = None if low > 0 else _seeds_to_tell(found.difference, chance, groups, present)
    return replace(found, low=low, high=high, images=chance.count, seeds_to_tell=seeds)


@dataclass(frozen=True)
class _Chance:
    """The variance of a difference of two means, by source."""

    seeds: float
    df: float  # degrees of freedom with which the seeds' variance is known; the images' are many
    images: float
    count: int | None  # of test images
    one_seed: float  # the seeds' variance with one seed for each variant
    df_each: float  # degrees of freedom that each further seed of both would give: 1, if one spreads alone, to 2

    def half_width(self, groups: int) -> float:
        """Half the width of an interval that is simultaneous for all pairs of ``groups`` variants."""
        seeds = critical(LEVEL, groups, self.df) ** 2 * self.seeds if self.seeds else 0.0
        return math.sqrt((seeds + critical(LEVEL, groups, math.inf) ** 2 * self.images) / 2)


def _chance(first: Sample, second: Sample) -> _Chance:
    """Welch's variance and degrees of freedom for the seeds, McNemar's variance for the shared test images."""
    seeds = doubt = one_seed = squares = images = 0.0
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
        images = float(np.var(apart)) / max(count - 1, 1)
    df, df_each = (seeds**2 / doubt, one_seed**2 / squares) if doubt else (math.inf, math.inf)
    return _Chance(seeds, df, images, count, one_seed, df_each)


def _seeds_to_tell(difference: float, chance: _Chance, groups: int, present: int) -> int | None:
    """Seeds per variant, more than ``present``, with which such a difference is found with a power of 0.8."""

    def suffices(count: int) -> bool:
        planned = replace(chance, seeds=chance.one_seed / count, df=chance.df_each * (count - 1))
        deviation = math.sqrt(planned.seeds + planned.images)
        return planned.half_width(groups) + POWER_QUANTILE * deviation <= difference

    if present >= MOST_SEEDS or not suffices(MOST_SEEDS):
        return None
    counts = range(present + 1, MOST_SEEDS)
    return present + 1 + bisect_left(counts, True, key=suffices)
