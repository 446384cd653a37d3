"""Critical values of a paired t test that is looked at after every seed, up to a number that is fixed beforehand.

Alpha spending (Lan and DeMets, 1983): up to the look at n of at most N seeds the probability of any error is
alpha ((n - 2) / (N - 2))^2. The values are exact for normal differences: with u = (sum of differences) / (root of
their sum of squares), the next one is u sqrt(1 - v^2) + v, v independent of everything before, so that one dimension is
enough for the recursion of Armitage, McPherson and Rowe (1969). docs/verdict.md has the derivation.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.verdict.planning import LEAST_SEEDS

Array = NDArray[np.float64]

POWER = 2.0  # by simulation one run in a hundred more than the cheapest, and nearly as decisive as any
NEAR, FAR, FARTHEST = 128, 64, 10_000.0  # cells of |t| up to 5 and beyond; the largest comes once in 10^8 with 2 df
EDGES = np.concatenate([np.linspace(0, 5, NEAR, endpoint=False), np.geomspace(5, FARTHEST, FAR + 1)])
CENTERS = (EDGES[:-1] + EDGES[1:]) / 2  # cells are a third as wide as what one more of 60 differences changes


@lru_cache(maxsize=1 << 14)
def critical_value(n: int, max_seeds: int, alpha: float, power: float = POWER) -> float:
    """What the absolute t statistic of ``n`` differences must reach at the level ``alpha`` over all looks.

    The looks are at 3 to ``max_seeds`` differences; elsewhere there are none, and the value is infinite. ``power``: of
    the spending function.
    """
    if not LEAST_SEEDS <= n <= max_seeds:
        return math.inf
    for earlier in range(LEAST_SEEDS, n):
        _look(earlier, max_seeds, alpha, power)  # one after the other, so that none recurses through all before it
    return float(_look(n, max_seeds, alpha, power)[0])


def _spent(n: int, max_seeds: int, alpha: float, power: float) -> float:
    return alpha * math.pow(max((n - LEAST_SEEDS + 1) / (max_seeds - LEAST_SEEDS + 1), 0.0), power)


@lru_cache(maxsize=1 << 12)
def _look(n: int, max_seeds: int, alpha: float, power: float) -> tuple[float, Array]:
    """The critical value at ``n``, and (CELLS,) the probability of having decided nothing and |t| in each cell."""
    from scipy import optimize, special

    spend = _spent(n, max_seeds, alpha, power) - _spent(n - 1, max_seeds, alpha, power)
    if n == LEAST_SEEDS:
        bound = -float(special.stdtrit(n - 1, spend / 2))
        tails = 2 * special.stdtr(n - 1, -EDGES)
    else:
        before = _look(n - 1, max_seeds, alpha, power)[1]
        tails, at = before @ _tails(n), _statistic(CENTERS, n - 1)

        def excess(t: float) -> float:
            return float(before @ _beyond(at, _statistic(np.array(t), n), n)) - spend

        bound = float(optimize.brentq(excess, 0.0, FARTHEST, xtol=1e-6)) if excess(FARTHEST) < 0 else FARTHEST
    tails[-1] = 0.0  # what is beyond the last edge counts to the last cell
    return bound, -np.diff(np.where(bound > EDGES, tails, spend))


@lru_cache(maxsize=128)
def _tails(n: int) -> Array:
    """(CELLS, CELLS + 1): the probability that |t| of ``n`` is beyond an edge, from each cell of ``n`` - 1."""
    return _beyond(_statistic(CENTERS, n - 1)[:, None], _statistic(EDGES, n)[None, :], n)


def _statistic(t: Array, n: int) -> Array:
    """The u of ``n`` differences with this t statistic."""
    return t * np.sqrt(n / (n - 1 + t**2))


def _beyond(u: Array, least: Array, n: int) -> Array:
    """The probability that |u| of ``n`` differences is at least ``least``, from ``u`` >= 0 of the first n - 1.

    With v = sin(angle), the next u is sqrt(1 + u^2) cos(angle - middle), and sqrt(n - 1) tan(angle) is Student's t with
    n - 1 degrees of freedom.
    """
    middle, reach = np.arctan2(1.0, u), np.sqrt(1 + u**2)
    half = np.arccos(np.minimum(least / reach, 1.0))
    above = _upper(middle - half, n) - _upper(np.minimum(middle + half, math.pi / 2), n)
    below = _upper(np.minimum(math.pi - middle - half, math.pi / 2), n)
    return np.where(least < reach, above + below, 0.0)


def _upper(angle: Array, n: int) -> Array:
    from scipy import special

    tail: Array = special.stdtr(n - 1, -math.sqrt(n - 1) * np.tan(angle))
    return tail
