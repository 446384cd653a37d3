"""Student's t: standard errors of means, p values, quantiles, and the noncentrality that a power needs.

SciPy is imported in the functions: it takes a tenth of a second that a launch does not have before its trials begin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import numpy as np

POWER = 0.8  # the probability with which an existing difference is to be found
Z = np.linspace(-8, 8, 801)  # the error of the difference, in true standard errors
DENSITY = np.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0])
UPPER = 0.8  # the confidence of the upper bound of a standard deviation that plans are made with
UNEQUAL = 1.5  # ratio of two numbers of values above which Welch's degrees of freedom are not used
NO_SPREAD = 2e-7  # of accuracies (fractions): what is below it is float32's rounding, not a spread


@dataclass(frozen=True)
class StandardError:
    """Of a mean, or of the difference of two independent means.

    ``parts``: the variance and the number of values of each mean. One part gives Student's test (and the paired one, of
    differences), two give Welch's statistic.
    """

    parts: tuple[tuple[float, int], ...]

    def value(self, more: int = 0) -> float:
        """The standard error, with ``more`` further values in each part and the same variances."""
        return math.sqrt(math.fsum(variance / (n + more) for variance, n in self.parts))

    def df(self, more: int = 0) -> float:
        """Degrees of freedom: Welch's (1947) for two parts; the smaller number of values less one if they are unequal.

        Welch's are estimated: with 3 values against 10 his test is wrong three to ten times as often as it says at the
        levels that many variants need. The smaller number's never are, whatever the variances (Mickey and Brown, 1966).
        """
        counts = [n + more for _, n in self.parts]
        if len(counts) == 1 or max(counts) > UNEQUAL * min(counts):
            return min(counts) - 1
        shares = [variance / n for (variance, _), n in zip(self.parts, counts, strict=True)]
        return math.fsum(shares) ** 2 / math.fsum(s**2 / (n - 1) for s, n in zip(shares, counts, strict=True))


def standard_error(samples: Sequence[Sequence[float]], least: float) -> StandardError | None:
    """Of the mean of one sample, or of the difference of two; None without a standard deviation or any spread.

    ``least``: the least variance of a sample to reckon with, because its values were rounded (see ``rounding.py``).
    """
    if min(len(sample) for sample in samples) < 2:
        return None
    error = StandardError(tuple((max(variance(sample), least), len(sample)) for sample in samples))
    return error if error.value() > NO_SPREAD else None


def variance(sample: Sequence[float]) -> float:
    """Sample variance of at least two values."""
    center = fmean(sample)
    return math.fsum((value - center) ** 2 for value in sample) / (len(sample) - 1)


def no_spread(sample: Sequence[float]) -> bool:
    """Whether all values are equal."""
    return max(sample) - min(sample) <= NO_SPREAD


def lower_tail(t: float, df: float) -> float:
    """The probability that Student's t with ``df`` degrees of freedom is at most ``t``."""
    from scipy import special

    return float(special.stdtr(df, t))


def critical(df: float, alpha: float) -> float:
    """The value that the absolute value of Student's t exceeds with probability ``alpha``."""
    from scipy import special

    return -float(special.stdtrit(df, alpha / 2))


@lru_cache(maxsize=1 << 12)
def upper_bound(df: float) -> float:
    """The 80 % upper bound of a standard deviation with ``df`` degrees of freedom, over its estimate."""
    from scipy import special

    return math.sqrt(df / float(special.chdtri(df, UPPER)))


@lru_cache(maxsize=1 << 16)
def noncentrality(df: float, alpha: float) -> float:
    """The true difference, in standard errors, that a two-sided test at level ``alpha`` finds with a power of 0.8.

    SciPy's inverse of the noncentral t takes seconds, or does not end, for few degrees of freedom and a small level.
    """
    t = critical(df, alpha)
    low, high = 0.0, t + 1
    while _power(high, t, df) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, t, df) < POWER else (low, middle)
    return (low + high) / 2


def _power(difference: float, t: float, df: float) -> float:
    """The probability of a t statistic above ``t``: that the estimated standard error is small enough, over z."""
    from scipy import special

    largest = np.maximum(difference + Z, 0.0) / t  # standard error, in true ones, with which it is still found
    return float(DENSITY @ special.chdtr(df, df * largest**2))
