"""How often the verdict is wrong, on simulated variants whose true accuracies are known.

The bounds allow for chance one time in a thousand; benchmarks/verdict.py has more settings and more repetitions.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from orchestrator.verdict import Decision, Verdict, judge

SD, TOP = 0.005, 0.9
Law = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
LAWS: dict[str, Law] = {
    "normal": lambda stream, shape: stream.standard_normal(shape),
    "skewed": lambda stream, shape: 1 - stream.standard_exponential(shape),
    "heavy-tailed": lambda stream, shape: stream.standard_t(3, shape) / np.sqrt(3),
    "200 images": lambda stream, shape: np.rint(stream.standard_normal(shape)),  # a step of one standard deviation
}


def at_most(wrong: int, times: int, limit: float) -> bool:
    return bool(stats.binomtest(wrong, times, limit, "greater").pvalue > 0.001)


def judged(accuracies: np.ndarray, **settings: float) -> Verdict:
    return judge({f"v{i}": dict(enumerate(row.tolist())) for i, row in enumerate(accuracies)}, **settings)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("k", "n"), [(2, 3), (2, 10), (5, 5)])
def test_equal_variants_are_told_apart_one_time_in_twenty_at_most(law: str, k: int, n: int) -> None:
    stream, times = np.random.default_rng(1), 600
    wrong = means = 0
    for _ in range(times):
        verdict = judged(TOP + SD * LAWS[law](stream, (k, n)))
        wrong += any(pair.told_apart for pair in verdict.pairs)
        means += sum(score.low is not None and not score.low <= TOP <= score.high for score in verdict.variants)
    assert at_most(wrong, times, 0.05)
    if law != "skewed":  # the mean of a few skewed values has no exact interval
        assert at_most(means, times * k, 0.05)


@pytest.mark.parametrize("truth", [(0, 0, 40), (0, 0, 0, 40, 80)])
def test_the_decisions_hold_for_mixtures_and_both_intervals_and_decisions_within_their_limits(
    truth: tuple[int, ...],
) -> None:
    stream, times, n = np.random.default_rng(2), 800, 4
    means = TOP - SD * np.array(truth, dtype=float)
    wrong = missed = cut_missed = 0
    for _ in range(times):
        pairs = judged(means[:, None] + SD * stream.standard_normal((len(truth), n))).pairs
        apart = [means[int(pair.a[1])] - means[int(pair.b[1])] for pair in pairs]
        wrong += any(pair.told_apart and d <= 0 for pair, d in zip(pairs, apart, strict=True))
        missed += any(
            abs(d - pair.difference) > pair.high - pair.difference for pair, d in zip(pairs, apart, strict=True)
        )
        cut_missed += any(not pair.low <= d <= pair.high for pair, d in zip(pairs, apart, strict=True))
    assert at_most(wrong, times, 0.05)
    assert at_most(missed, times, 0.05)  # Bonferroni's intervals, before a decision cuts them at zero
    assert at_most(cut_missed, times, 0.10)


@pytest.mark.parametrize("truth", [(0, 4), (0, 4, 4)])
def test_a_wrong_equivalent_at_the_margins_edge_is_one_time_in_twenty_at_most(truth: tuple[int, ...]) -> None:
    stream, times = np.random.default_rng(3), 800
    wrong = 0
    for _ in range(times):
        verdict = judged(
            TOP - SD * np.array(truth)[:, None] + SD * stream.standard_normal((len(truth), 5)), margin=4 * SD
        )
        within = [p for p in verdict.pairs if p.decision in (Decision.EQUIVALENT, Decision.SLIGHTLY_BETTER)]
        wrong += any("v0" in (pair.a, pair.b) for pair in within)
    assert at_most(wrong, times, 0.05)


@pytest.mark.parametrize("counts", [(3, 5), (3, 10), pytest.param((3, 10, 3, 10, 5), marks=pytest.mark.slow)])
def test_other_numbers_of_seeds_and_unequal_spreads(counts: tuple[int, ...]) -> None:
    stream, times = np.random.default_rng(4), 800
    wrong = 0
    for _ in range(times):
        runs = [TOP + SD * (3 if i == 0 else 1) * stream.standard_normal(n) for i, n in enumerate(counts)]
        verdict = judge({f"v{i}": dict(enumerate(run.tolist(), 100 * i)) for i, run in enumerate(runs)})
        wrong += any(pair.told_apart for pair in verdict.pairs)
    assert at_most(wrong, times, 0.05)


@pytest.mark.parametrize("by_seed", [0.0, 0.1])
def test_networks_that_are_equal_on_all_images_are_told_apart_on_new_ones_one_time_in_twenty_at_most(
    by_seed: float,
) -> None:
    # Whether an image is right depends on how difficult it is, how difficult for this network, the seed, and the rest.
    stream, times, k, n, images = np.random.default_rng(6), 250, 3, 4, 500
    wrong = missed = 0
    for _ in range(times):
        spreads = by_seed * np.array([[1.0], [2.0], [3.0]])
        effects = np.sqrt(1.34 + spreads**2) + spreads * stream.standard_normal((k, n))  # the same mean for all
        by_image = stream.standard_normal(images) + 0.3 * stream.standard_normal((k, 1, images))
        right = effects[..., None] + by_image + 0.5 * stream.standard_normal((k, n, images)) > 0
        predictions = {(f"v{i}", s): right[i, s] for i in range(k) for s in range(n)}
        scores = {f"v{i}": dict(enumerate(right[i].mean(axis=1).tolist())) for i in range(k)}
        pairs = judge(scores, predictions=predictions).pairs
        true = stats.norm.cdf(effects / np.sqrt(1.34)).mean(axis=1)  # of the trained networks, on all images
        apart = [true[int(pair.a[1])] - true[int(pair.b[1])] for pair in pairs]
        wrong += any(pair.told_apart and pair.holds_for_new_images for pair in pairs)
        missed += any(not p.low_new_images <= d <= p.high_new_images for p, d in zip(pairs, apart, strict=True))
    assert at_most(wrong, times, 0.05)
    assert at_most(missed, times, 0.05)
