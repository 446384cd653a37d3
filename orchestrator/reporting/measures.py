"""The numbers behind the figures: intervals, calibration, confusion; each with its source, nothing is drawn here."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Fractions = NDArray[np.float64]


def wilson_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion ``hits / count`` (Wilson 1927), as fractions; (0, 1) without any trial."""
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = hits / count
    middle = share + z**2 / (2 * count)
    half = z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    low, high = (middle - half) / (1 + z**2 / count), (middle + half) / (1 + z**2 / count)
    return min(share, max(0.0, low)), max(share, min(1.0, high))  # rounding must not put the share outside


def confusion_matrix(labels: Counts, predicted: Counts, classes: int) -> Counts:
    """(classes, classes) counts: a row for each true class, a column for each predicted one."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def class_counts(labels: Counts, predicted: Counts, classes: int) -> tuple[Counts, Counts, Counts]:
    """For each class the number of correct, true and predicted images: each (classes,)."""
    right = labels[labels == predicted]
    hits, true, taken = (np.bincount(found, minlength=classes) for found in (right, labels, predicted))
    return hits, true, taken


def precision_recall_f1(labels: Counts, predicted: Counts, classes: int) -> Fractions:
    """(classes, 3) fractions; 0 / 0 is 0, as in scikit-learn by default."""
    hits, true, taken = class_counts(labels, predicted, classes)
    parts = ((hits, taken), (hits, true), (2 * hits, true + taken))
    return np.stack([above / np.maximum(below, 1) for above, below in parts], axis=1)


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
