"""Are the seeds enough: the smallest difference that they show, and how many more would show a given one.

Both are for a power of 0.8 at the level of the first step of Holm's procedure, and for the 80 % upper bound of the
standard deviation, because that of a few seeds is often much too small.
"""

from bisect import bisect_left

from orchestrator.verdict.student import StandardError, noncentrality, upper_bound

MOST_SEEDS = 1_000  # more than these are no advice
LEAST_SEEDS = 3  # of each variant, for a decision


def detectable(error: StandardError, alpha: float, more: int = 0) -> float:
    """The smallest difference (fraction) that these seeds, and ``more`` of each, show with a power of 0.8.

    It may be larger than any difference of two accuracies can be, which is at most 1.
    """
    df = round(error.df(more), 1)  # Welch's are estimates: a plan needs no more digits, and fewer are remembered
    return noncentrality(df, alpha) * upper_bound(error.df()) * error.value(more)


def more_seeds(error: StandardError, alpha: float, target: float) -> int | None:
    """How many more seeds of each variant show the difference ``target`` (fraction) with a power of 0.8.

    None if it is zero or takes more than 1,000; 0 if those present would have shown it.
    """
    if target <= 0 or detectable(error, alpha, MOST_SEEDS) > target:
        return None
    least = max(0, LEAST_SEEDS - min(n for _, n in error.parts))
    counts = range(least, MOST_SEEDS)
    return least + bisect_left(counts, True, key=lambda more: detectable(error, alpha, more) <= target)
