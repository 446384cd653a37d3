"""Student's t: standard errors of means, p values, quantiles, and the noncentrality that a power needs.

SciPy is imported in the functions: it takes a tenth of a second that a launch does not have before its trials begin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

POWER = 0.8  # the probability with which an existing difference is to be found
UPPER = 0.8  # the confidence of the upper bound of a standard deviation that plans are made with
NO_SPREAD = 2e-7  # a range of accuracies (fractions) below which it is float32's rounding, not a spread


@dataclass(frozen=True)
class StandardError:
    """Of a mean, or of the difference of two independent means.

    ``parts``: the variance and the number of values of each mean. One part gives Student's test (and the paired one, of
    differences), two give Welch's.
    """

    parts: tuple[tuple[float, int], ...]

    def value(self, more: int = 0) -> float:
        """The standard error, with ``more`` further values in each part and the same variances."""
        return math.sqrt(math.fsum(variance / (n + more) for variance, n in self.parts))

    def df(self, more: int = 0) -> float:
        """Degrees of freedom: n - 1, or Welch's (1947) and Satterthwaite's for two parts."""
        if len(self.parts) == 1:
            return self.parts[0][1] - 1.0 + more
        shares = [(variance / (n + more), n + more) for variance, n in self.parts]
        total = sum(share for share, _ in shares)
        return 1.0 / sum((share / total) ** 2 / (n - 1) for share, n in shares)

    def upper_bound_factor(self) -> float:
        """What to multiply the standard error by for the 80 % upper bound of the standard deviation."""
        from scipy import special

        return math.sqrt(self.df() / float(special.chdtri(self.df(), UPPER)))


def standard_error(samples: Sequence[Sequence[float]], rounding: float) -> StandardError | None:
    """Of the mean of one sample, or of the difference of two; None without a standard deviation or any spread.

    ``rounding``: variance that is added to each sample's, because its values were rounded (see ``rounding.py``).
    """
    if min(len(sample) for sample in samples) < 2 or all(no_spread(sample) for sample in samples):
        return None
    return StandardError(tuple((variance(sample) + rounding, len(sample)) for sample in samples))


def mean(sample: Sequence[float]) -> float:
    """Arithmetic mean, the same in whatever order."""
    return math.fsum(sample) / len(sample)


def variance(sample: Sequence[float]) -> float:
    """Sample variance of at least two values."""
    center = mean(sample)
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


def noncentrality(df: float, alpha: float) -> float:
    """The true difference, in standard errors, that a two-sided test at level ``alpha`` finds with a power of 0.8."""
    coarse = math.floor(10 * df) / 10 if df < 30 else math.floor(df)  # rounded down, which is the careful side
    return _noncentrality(max(coarse, 1.0), alpha)


@lru_cache(maxsize=1 << 16)
def _noncentrality(df: float, alpha: float) -> float:
    from scipy import special

    return float(special.nctdtrinc(df, 1 - POWER, critical(df, alpha)))
