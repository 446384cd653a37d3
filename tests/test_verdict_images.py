"""Other test images: paired by image, alone and together with other seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.verdict import Verdict, judge

Predictions = dict[tuple[str, int], np.ndarray]


def predicted(shares: dict[str, float], seeds: int, images: int = 400, seed: int = 0) -> Predictions:
    """Random right answers; images are as difficult for all variants, and a seed decides every tenth anew."""
    stream = np.random.default_rng(seed)
    hard = stream.random(images)
    return {
        (name, s): np.where(stream.random(images) < 0.1, stream.random(images), hard) < share
        for name, share in shares.items()
        for s in range(seeds)
    }


def judged(predictions: Predictions, known: Predictions | None = None) -> Verdict:
    scores: dict[str, dict[int, float]] = {}
    for (name, s), right in predictions.items():
        scores.setdefault(name, {})[s] = float(right.mean())
    return judge(scores, predictions=predictions if known is None else known)


@pytest.mark.parametrize("seeds", [1, 3])
def test_other_images_are_a_paired_t_interval_over_images(seeds: int) -> None:
    predictions = predicted({"a": 0.9, "b": 0.8}, seeds)
    verdict = judged(predictions)
    means = [np.mean([predictions[name, s] for s in range(seeds)], axis=0) for name in "ab"]
    oracle = stats.ttest_rel(*means).confidence_interval()
    [pair] = verdict.pairs
    assert verdict.images == 400
    assert (pair.low_new_images, pair.high_new_images) == (pytest.approx(oracle.low), pytest.approx(oracle.high))


def test_with_one_seed_it_is_mcnemars_variance() -> None:
    predictions = predicted({"a": 0.9, "b": 0.8}, 1)
    [pair] = judged(predictions).pairs
    a, b = predictions["a", 0], predictions["b", 0]
    only_a, only_b = (a & ~b).mean(), (b & ~a).mean()
    error = math.sqrt((only_a + only_b - (only_a - only_b) ** 2) / 399)
    assert pair.high_new_images - pair.difference == pytest.approx(stats.t.isf(0.025, 399) * error)
    assert (pair.low, pair.low_both) == (None, None)  # one seed says nothing of other seeds


def test_both_at_once_is_wider_than_either_and_adds_the_squares() -> None:
    for pair in judged(predicted({"a": 0.9, "b": 0.7}, 4)).pairs:
        seeds = pair.high - pair.difference
        images = pair.high_new_images - pair.difference
        assert pair.high_both - pair.difference == pytest.approx(math.hypot(seeds, images))
        assert pair.low_both < min(pair.low, pair.low_new_images)


def test_a_pair_that_a_later_step_decides_has_images_at_that_level() -> None:
    accuracies = {
        "a": (0.9499, 0.9501, 0.95, 0.9498), "b": (0.9442, 0.94, 0.9332, 0.936), "c": (0.5499, 0.5497, 0.5506, 0.5502),
    }  # fmt: skip
    scores = {name: dict(enumerate(values)) for name, values in accuracies.items()}
    images = np.arange(10_000)  # ordered by difficulty, which is the same for all: other images hardly matter
    known = {(name, seed): images < round(10_000 * x) for name, seeds in scores.items() for seed, x in seeds.items()}
    verdict = judge(scores, predictions=known)
    pair = verdict.pair("a", "b")
    assert pair is not None
    assert str(pair.decision) == "better"
    assert 0 < pair.low < 1e-6  # at Bonferroni's level it is not told apart
    assert pair.low_new_images > 0
    assert "this test split" not in verdict.sentence


def test_predictions_are_used_only_where_all_seeds_of_both_variants_have_them() -> None:
    predictions = predicted({"a": 0.9, "b": 0.85, "c": 0.7}, 3)
    known = {trial: right for trial, right in predictions.items() if trial != ("c", 1)}
    verdict = judged(predictions, {**known, ("d", 0): np.ones(7, dtype=bool)})  # d takes no part
    assert {(p.a, p.b): p.low_both is not None for p in verdict.pairs} == {
        ("a", "b"): True,
        ("a", "c"): False,
        ("b", "c"): False,
    }
    assert verdict.images == 400
    assert judged(predictions, {}).images is None


def test_equal_predictions_have_no_interval_for_other_images() -> None:
    right = np.arange(40) < 30
    [pair] = judged({(name, s): right for name in "ab" for s in range(3)}).pairs
    assert (pair.difference, pair.low_new_images, pair.low_both, pair.low) == (0, None, None, None)


def test_a_difference_of_this_test_split_is_called_that() -> None:
    # a is right on two images more than b for every seed; of 400 images that is luck, whatever the seeds say.
    predictions: Predictions = {}
    for s in range(6):
        base = np.roll(np.arange(400) < 300, 5 * (s % 2))
        for name, extra in (("a", 2 + (s == 3)), ("b", 0)):
            right = base.copy()
            right[350 : 350 + extra] = True
            predictions[name, s] = right
    verdict = judged(predictions)
    [pair] = verdict.pairs
    assert pair.told_apart
    assert pair.holds_for_new_images is False
    assert "holds for new seeds but is not shown for new images" in verdict.sentence
    assert "a difference of this test split" in verdict.sentence


def test_a_large_difference_holds_for_other_images_too() -> None:
    verdict = judged(predicted({"a": 0.9, "b": 0.5}, 5))
    assert verdict.pairs[0].holds_for_new_images
    assert "told apart is so for other seeds and other test images of the same kind at once" in verdict.sentence
