"""The numbers behind the figures: intervals, counts by class, calibration; nothing is drawn here."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.context import ReportContext

Counts = NDArray[np.int64]
Fractions = NDArray[np.float64]


@cache  # classes of the same size have few different counts, and one takes a millisecond
def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of the proportion ``correct / count``, as fractions; ``count`` above 0."""
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def class_counts(context: ReportContext) -> tuple[list[int], list[int]]:
    """For each class the number of its test images that are classified correctly, and of all of them."""
    labels, classes = context.labels, len(context.classes)
    correct, every = (np.bincount(found, minlength=classes) for found in (labels[context.correct], labels))
    return correct.tolist(), every.tolist()


@dataclass(frozen=True)
class Calibration:
    """Equal-width bins of confidence: (B,) counts, mean confidences and accuracies (fractions, nan in empty bins)."""

    edges: Fractions  # (B + 1,)
    counts: Counts
    confidences: Fractions
    accuracies: Fractions
    expected_error: float


def calibration(confidences: Fractions, correct: NDArray[np.bool_], bins: int = 15) -> Calibration:
    """Bins ((m - 1) / B, m / B] and the expected calibration error of Guo et al., ICML 2017, equation 3.

    The error is the mean over all images of the distance between the accuracy and the mean confidence of their bin.
    """
    position = np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(position, minlength=bins)
    with np.errstate(invalid="ignore"):  # an empty bin has no mean: 0 / 0
        mean_confidence = np.bincount(position, weights=confidences, minlength=bins) / counts
        accuracy = np.bincount(position, weights=correct, minlength=bins) / counts
    filled = counts > 0
    gaps = np.abs(accuracy[filled] - mean_confidence[filled])
    error = float((gaps * counts[filled]).sum() / counts.sum()) if filled.any() else float("nan")
    return Calibration(np.linspace(0, 1, bins + 1), counts, mean_confidence, accuracy, error)
