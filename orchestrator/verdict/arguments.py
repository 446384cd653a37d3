"""What the statistics can be asked: wrong arguments are refused with the place and what is allowed."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RequestError
from orchestrator.text import did_you_mean

SHAPE = "(N,) bool, one for each test image,"  # of predictions


def check_question(
    scores: Mapping[str, Mapping[Any, float]], margin: float | None, baseline: str | None, confidence: float
) -> None:
    """Raise RequestError unless ``scores``, by variant and seed, can be judged with the other arguments."""
    check_confidence(confidence)
    if margin is not None:
        check_margin(margin)
    if baseline is not None:
        check_baseline(baseline, scores)
    for variant, accuracies in scores.items():
        check_accuracies(variant, accuracies.items())


def scores_by_seed(scores: Mapping[str, Any]) -> dict[str, dict[Any, float]]:
    """``scores`` as dictionaries, also of a DataFrame or of Series. Raises RequestError for what has no seeds."""
    if not hasattr(scores, "items"):
        raise RequestError(f"scores: give those of each variant, by seed, not {type(scores).__name__}")
    found = {}
    for variant, seeds in scores.items():
        try:
            found[variant] = dict(seeds)
        except (TypeError, ValueError) as problem:
            kind = type(seeds).__name__
            raise RequestError(f"{variant}: give scores by seed, such as {{0: 0.91, 1: 0.92}}, not {kind}") from problem
    return found


def check_confidence(confidence: float) -> None:
    """Raise RequestError unless it is above 0.5 and below 1."""
    if not 0.5 < confidence < 1:
        raise RequestError(f"confidence: {confidence} is not between 0.5 and 1; 0.95 is usual")


def check_margin(margin: float) -> None:
    """Raise RequestError unless it is above 0 and below 1."""
    if not 0 < margin < 1:
        raise RequestError(
            f"margin: {margin} is not a difference of accuracy between 0 and 1; 0.005 is half a percentage point"
        )


def check_rounds(seeds: Sequence[object], max_seeds: int) -> None:
    """Raise RequestError unless ``seeds`` are all different and ``max_seeds`` is at least 3."""
    if max_seeds < 3:
        raise RequestError(f"max_seeds: {max_seeds} cannot decide anything; at least 3 are needed, and 20 are usual")
    if twice := sorted({str(seed) for seed in seeds if list(seeds).count(seed) > 1}):
        raise RequestError(f"seeds: listed twice: {', '.join(twice)}; each round has a seed of its own")


def check_accuracies(where: str, accuracies: Iterable[tuple[object, Any]]) -> None:
    """Raise RequestError for a score that is not a fraction; ``accuracies`` are pairs of seed and score."""
    for seed, accuracy in accuracies:
        if not isinstance(accuracy, numbers.Real) or not 0 <= float(accuracy) <= 1:
            raise RequestError(f"{where}, seed {seed}: an accuracy is a fraction from 0 to 1, not {accuracy}")


def check_baseline(baseline: str, variants: Iterable[str]) -> None:
    """Raise RequestError unless it is one of ``variants``."""
    known = list(variants)
    if baseline not in known:
        allowed = ", ".join(known) or "there are none"
        raise RequestError(
            f"baseline: {baseline} is not a variant of this comparison{did_you_mean(baseline, known)}; "
            f"the variants are: {allowed}"
        )


def check_predictions(predictions: Mapping[tuple[str, Any], NDArray[np.bool_]]) -> int | None:
    """Raise RequestError unless all have one length; that length, or None without predictions."""
    lengths: dict[int, tuple[str, Any]] = {}
    for where, right in predictions.items():
        if right.ndim != 1 or right.dtype != np.bool_ or not len(right):
            raise RequestError(f"predictions of {_trial(where)}: {SHAPE} are needed")
        lengths.setdefault(len(right), where)
    if len(lengths) > 1:
        counts = ", ".join(f"{count:,} images of {_trial(where)}" for count, where in lengths.items())
        raise RequestError(f"predictions: of different test splits ({counts}); compare trials on the same images")
    return next(iter(lengths), None)


def arrays(predictions: Mapping[tuple[str, Any], Any] | None) -> dict[tuple[str, Any], NDArray[np.bool_]]:
    """``predictions`` as arrays, also of lists. Raises RequestError for what is none."""
    found = {}
    for where, right in ({} if predictions is None else predictions).items():
        try:
            found[where] = np.asarray(right)
        except ValueError as problem:  # lists of different lengths
            raise RequestError(f"predictions of {_trial(where)}: {SHAPE} are needed") from problem
    return found


def _trial(where: tuple[str, Any]) -> str:
    return f"{where[0]}, seed {where[1]}"
