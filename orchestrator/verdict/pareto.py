"""The Pareto front: variants for which no other is both cheaper and more accurate."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.verdict.result import VariantScore


def pareto_front(variants: Sequence[VariantScore], cost: Mapping[str, float]) -> tuple[str, ...]:
    """Variants that no other dominates, by ascending ``cost``; those without a mean accuracy or a finite cost are not.

    One dominates another if it is no worse in mean accuracy and in cost, and better in one of them. Variants that are
    equal in both stay, all of them.
    """
    known = [
        (float(cost[score.variant]), -score.mean, score.variant)
        for score in variants
        if score.mean is not None and math.isfinite(cost.get(score.variant, math.nan))
    ]
    front: list[tuple[float, float, str]] = []
    for point in sorted(known, key=lambda point: point[:2]):
        if not front or point[1] < front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return tuple(variant for _, _, variant in front)
