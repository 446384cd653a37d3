"""Accuracies are rounded: counts of right images over the number of images.

With few seeds and few images, differences are often equal or nearly so by rounding alone. Their standard deviation is
then too small and t too large. Rounding to steps of g has a variance of g^2 / 12 for a value and g^2 / 6 for a
difference of two. A sample variance below three times that is no evidence of a smaller one, and is taken to be that;
docs/verdict.md has the error rates with and without it.
"""

from collections.abc import Iterable

import numpy as np

LEAST = 3  # times the variance that rounding has by itself: by simulation the least that keeps the error rates
FINEST = 10_000  # steps from 0 to 1; on a finer grid the rounding does not matter


def step(scores: Iterable[float]) -> float:
    """The coarsest step 1/N, N a whole number up to 10,000, of which all ``scores`` (fractions) are multiples; or 0.

    The scores' own step may be a fraction of it, so that what is added for rounding is an upper bound.
    """
    counts = np.arange(1, FINEST + 1)
    for score in {*scores} - {0.0, 1.0}:
        multiples = score * counts
        counts = counts[np.abs(multiples - np.rint(multiples)) <= 1.2e-7 * counts]  # float32's relative precision
    return 1 / float(counts[0]) if 0 < len(counts) < FINEST else 0.0


def least_variance(grid: float, values: int = 1) -> float:
    """The least variance to reckon with for a difference of ``values`` values that are rounded to steps of ``grid``."""
    return LEAST * values * grid**2 / 12
