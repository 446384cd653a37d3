"""Many tests at once: Holm's adjustment of p values."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values (Holm, 1979): at most alpha in the same places as his step-down procedure rejects at alpha.

    None stands for a test that could not be made. It counts, as if its p value were 1, because whether it can be made
    depends on the outcome.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[place] = highest
    return adjusted
