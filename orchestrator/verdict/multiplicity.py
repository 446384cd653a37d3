"""Many tests at once: Holm's adjustment of p values."""

from collections.abc import Sequence


def steps(p_values: Sequence[float | None]) -> list[int]:
    """By what Holm's step-down procedure divides alpha, for each p value: their number first, then one less."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    divisors = [len(p_values)] * len(p_values)
    for rank, (_, place) in enumerate(known):
        divisors[place] -= rank
    return divisors


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values (Holm, 1979): at most alpha in the same places as his step-down procedure rejects at alpha.

    None stands for a test that could not be made. It counts, as if its p value were 1, because whether it can be made
    depends on the outcome.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    divisors, highest = steps(p_values), 0.0
    for p, place in known:
        highest = max(highest, min(1.0, divisors[place] * p))
        adjusted[place] = highest
    return adjusted
