"""The other source of random error: other test images would have been classified correctly."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.verdict.student import critical

Right = NDArray[np.bool_]  # (N,), by test image: whether it was classified correctly


def mean_over_seeds(scores: Mapping[str, Mapping[Any, float]], predictions: Mapping[Any, Right]) -> dict[str, Any]:
    """By variant, (N,) float64: the proportion of its seeds that were right; only where all seeds have predictions."""
    complete = {
        variant: [predictions[variant, seed] for seed in seeds]
        for variant, seeds in scores.items()
        if seeds and all((variant, seed) in predictions for seed in seeds)
    }
    return {variant: np.mean(np.stack(known), axis=0) for variant, known in complete.items()}


def half_width(first: NDArray[np.float64], second: NDArray[np.float64], alpha: float) -> float | None:
    """Half the width of the interval of the difference of two variants for other test images and the same networks.

    Both saw the same images, so they are paired by image; an image is a cluster of its seeds, which are averaged. None
    if the variants do not differ on any image, or there is only one.
    """
    apart = first - second
    count = len(apart)
    if count < 2 or float(np.ptp(apart)) == 0.0:
        return None
    return critical(count - 1.0, alpha) * math.sqrt(float(np.var(apart, ddof=1)) / count)
