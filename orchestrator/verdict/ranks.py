"""Statistics that assume no distribution: the sign-flip test, and the probability that one run beats another."""

from collections.abc import Sequence

import numpy as np

FEWEST = 6  # pairs: with fewer the smallest p value, 2 / 2^n, is above 0.05
EXACT = 20  # pairs up to which every assignment of signs is counted
FLIPS = 9_999  # random assignments for more pairs, always the same ones
TIE = 1e-9  # fractions of accuracy


def sign_flip(differences: Sequence[float]) -> float | None:
    """Two-sided p value of Fisher's (1935) permutation test of paired ``differences``; None below six pairs.

    The proportion of assignments of signs whose mean is at least as far from zero: of all of them up to 20 pairs, of
    9,999 random ones and the observed one beyond.
    """
    if len(differences) < FEWEST:
        return None
    values = np.asarray(differences, dtype=np.float64)
    observed = abs(float(values.sum())) * (1 - TIE) - TIE
    if len(values) <= EXACT:
        sums = values[:1]  # the first sign stays: flipping all of them changes no absolute value
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    flips, stream = np.empty(FLIPS), np.random.default_rng(0)
    for at in range(0, FLIPS, 1000):
        signs = stream.integers(0, 2, (len(flips[at : at + 1000]), len(values))) * 2 - 1
        flips[at : at + 1000] = signs @ values
    return (1 + int(np.sum(np.abs(flips) >= observed))) / (FLIPS + 1)


def wins(differences: Sequence[float]) -> float:
    """The proportion of ``differences`` above zero, ties counted half."""
    return sum(1.0 if d > TIE else 0.5 if d >= -TIE else 0.0 for d in differences) / len(differences)
