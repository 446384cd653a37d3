"""The statistics of each variant and of each pair: SciPy's procedures are the oracles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.verdict import judge
from orchestrator.verdict.comparing import NO_SPREAD, ONE_SEED
from orchestrator.verdict.multiplicity import holm
from orchestrator.verdict.ranks import sign_flip, wins
from orchestrator.verdict.rounding import step

Scores = dict[str, dict[int, float]]


def drawn(counts: dict[str, int], seed: int = 0, sd: float = 0.004) -> Scores:
    """By variant, that many seeds with random accuracies around 90 %, each variant with its own mean."""
    stream = np.random.default_rng(seed)
    return {
        name: {i: 0.9 + 0.003 * place + sd * float(stream.standard_normal()) for i in range(n)}
        for place, (name, n) in enumerate(counts.items())
    }


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_a_variant_has_students_interval(n: int, confidence: float) -> None:
    scores = drawn({"a": n})
    [score] = judge(scores, confidence=confidence).variants
    values = list(scores["a"].values())
    oracle = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert (score.n, score.mean) == (n, pytest.approx(np.mean(values)))
    assert score.sd == pytest.approx(np.std(values, ddof=1))
    assert (score.low, score.high) == (pytest.approx(oracle.low), pytest.approx(oracle.high))


@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_same_seeds_are_paired(n: int) -> None:
    scores = drawn({"a": n, "b": n})
    shuffled = {"a": scores["a"], "b": dict(reversed(scores["b"].items()))}  # seeds decide, not their order
    for given_scores in (scores, shuffled):
        [pair] = judge(given_scores).pairs
        oracle = stats.ttest_rel(*[list(scores[name].values()) for name in (pair.a, pair.b)])
        assert (pair.paired, pair.n) == (True, n)
        assert pair.p == pytest.approx(oracle.pvalue)
        assert pair.high == pytest.approx(min(oracle.confidence_interval().high, 1.0))
        if n > 2:
            assert pair.low == pytest.approx(oracle.confidence_interval().low)


def test_accuracies_of_ten_thousand_images_leave_students_test_as_it_is() -> None:
    scores = {name: {s: round(x, 4) for s, x in seeds.items()} for name, seeds in drawn({"a": 5, "b": 5}).items()}
    [pair] = judge(scores).pairs
    assert pair.p == pytest.approx(stats.ttest_rel(*[list(s.values()) for s in scores.values()]).pvalue, rel=2e-3)


@pytest.mark.parametrize("counts", [(3, 4), (4, 6), (9, 10), (7, 5)])
def test_other_seeds_have_welchs_test(counts: tuple[int, int]) -> None:
    scores = drawn(dict(zip("ab", counts, strict=True)), sd=0.001)
    [pair] = judge(scores).pairs
    oracle = stats.ttest_ind(*[list(scores[name].values()) for name in (pair.a, pair.b)], equal_var=False)
    assert (pair.paired, pair.n) == (False, min(counts))
    assert (pair.p, pair.p_adjusted) == pytest.approx((oracle.pvalue, oracle.pvalue))
    interval = oracle.confidence_interval(0.95)
    assert (pair.low, pair.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("counts", [(3, 5), (3, 10), (8, 4)])
def test_very_unequal_numbers_have_welchs_statistic_with_the_smaller_numbers_degrees_of_freedom(
    counts: tuple[int, int],
) -> None:
    scores = drawn(dict(zip("ab", counts, strict=True)), sd=0.001)
    [pair] = judge(scores).pairs
    oracle = stats.ttest_ind(*[list(scores[name].values()) for name in (pair.a, pair.b)], equal_var=False)
    assert (pair.paired, pair.n) == (False, min(counts))
    assert pair.p == pytest.approx(2 * stats.t.sf(abs(oracle.statistic), min(counts) - 1))
    assert pair.p > oracle.pvalue  # more careful than Welch's, never less
    half = stats.t.isf(0.025, min(counts) - 1) * pair.difference / oracle.statistic
    assert pair.high == pytest.approx(pair.difference + half)


def test_as_many_but_other_seeds_are_not_paired() -> None:
    [pair] = judge({"a": {0: 0.91, 1: 0.92, 2: 0.94}, "b": {1: 0.90, 2: 0.91, 3: 0.93}}).pairs
    assert not pair.paired


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values_reject_what_holms_procedure_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step_down, place in enumerate(np.argsort(p_values, kind="stable")):  # as Holm wrote it
            if p_values[place] * (len(p_values) - step_down) > alpha:
                break
            rejected.add(int(place))
        assert {place for place, p in enumerate(adjusted) if p is not None and p <= alpha} == rejected


def test_a_test_that_cannot_be_made_counts_as_one_that_finds_nothing() -> None:
    assert holm([0.01, None, 0.25]) == [pytest.approx(0.03), None, 0.5]


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_sign_flip_test_is_scipys(n: int) -> None:
    apart = np.random.default_rng(n).normal(0.4, 1, n)
    oracle = stats.permutation_test((apart,), np.mean, permutation_type="samples", n_resamples=2**n).pvalue
    assert sign_flip(apart.tolist()) == pytest.approx(oracle)


def test_the_sign_flip_test_needs_six_pairs_and_is_a_fixed_random_one_from_twenty_one_on() -> None:
    assert sign_flip([1.0] * 5) is None
    assert sign_flip([1.0] * 6) == pytest.approx(2 / 64)
    assert sign_flip([0.001] * 20) == pytest.approx(2 / 2**20)
    apart = np.random.default_rng(0).normal(0.4, 1, 25).tolist()
    p = sign_flip(apart)
    assert p == sign_flip(apart)
    oracle = stats.permutation_test((apart,), np.mean, permutation_type="samples", n_resamples=50_000, rng=1).pvalue
    assert p == pytest.approx(oracle, abs=5 * math.sqrt(oracle / 10_000))


def test_the_probability_of_beating_counts_ties_half() -> None:
    assert wins([0.1, 0.0, -0.1, 0.2]) == 0.625
    paired = judge({"a": {0: 0.9, 1: 0.91, 2: 0.93}, "b": {0: 0.8, 1: 0.91, 2: 0.90}}).pairs[0]
    assert paired.p_a_beats_b == pytest.approx(2.5 / 3)
    a, b = [0.91, 0.92, 0.93], [0.90, 0.92]
    [welch] = judge({"a": dict(enumerate(a)), "b": dict(enumerate(b))}).pairs
    assert welch.p_a_beats_b == pytest.approx(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)))


def test_one_seed_and_no_spread_have_no_p_value_and_a_reason() -> None:
    [single] = judge({"a": {0: 0.9}, "b": {0: 0.8}}).pairs
    assert (single.p, single.low, single.reason) == (None, None, ONE_SEED)
    for seeds in (range(3), range(5, 8)):  # the same seeds, and others
        [pair] = judge({"a": dict.fromkeys(range(3), 0.95), "b": dict.fromkeys(seeds, 0.9)}).pairs
        assert (pair.p, pair.p_adjusted, pair.low, pair.detectable, pair.more_seeds) == (None,) * 5
        assert (pair.reason, str(pair.decision)) == (NO_SPREAD, "undecided")
    assert judge({"a": dict.fromkeys(range(3), 0.1)}).variants[0].low is None  # 0.1 has means that are not quite 0.1


@pytest.mark.parametrize(("images", "seed"), [(50, 0), (360, 1), (1000, 2), (8000, 3)])
def test_the_step_of_accuracies_is_found(images: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, images + 1, 40)
    assert step((counts / images).tolist()) == pytest.approx(1 / images)
    assert step((counts / images).astype(np.float32).astype(float).tolist()) == pytest.approx(1 / images)


def test_continuous_accuracies_have_no_step_and_few_coarse_ones_an_upper_bound() -> None:
    assert step(np.random.default_rng(0).random(6).tolist()) == 0
    assert step([0.5, 0.75]) == 0.25  # of 360 images, say
    assert step([1.0, 0.0]) == 0


def test_the_variance_is_at_least_three_times_that_of_rounding() -> None:
    scores = {"a": {0: 0.94, 1: 0.94, 2: 0.96}, "b": {0: 0.90, 1: 0.91, 2: 0.92}}
    apart = [0.04, 0.03, 0.04]
    [pair] = judge(scores).pairs
    assert np.var(apart, ddof=1) < 3 * 0.01**2 / 6  # as little as that may be by rounding alone
    assert pair.p == pytest.approx(2 * stats.t.sf(np.mean(apart) / math.sqrt(3 * 0.01**2 / 6 / 3), 2))
    right = np.zeros(50, dtype=bool)
    known = {(name, seed): np.roll(right, seed) for name in "ab" for seed in range(3)}
    [coarser] = judge(scores, predictions=known).pairs  # with predictions the step is known: 1 / 50
    assert coarser.p == pytest.approx(2 * stats.t.sf(np.mean(apart) / math.sqrt(3 * 0.02**2 / 6 / 3), 2))
    scores["b"][1] = 0.93  # a spread that rounding does not explain is taken as it is
    [wider] = judge(scores).pairs
    assert wider.p == pytest.approx(stats.ttest_rel([0.94, 0.94, 0.96], [0.90, 0.93, 0.92]).pvalue)


def test_a_difference_that_all_seeds_share_is_judged_by_rounding_if_the_variants_vary() -> None:
    scores = {"a": {0: 0.90, 1: 0.91, 2: 0.92}, "b": {0: 0.50, 1: 0.51, 2: 0.52}}
    [pair] = judge(scores).pairs
    assert str(pair.decision) == "better"
    assert pair.p == pytest.approx(2 * stats.t.sf(0.4 / math.sqrt(3 * 0.01**2 / 6 / 3), 2))
    [one_step] = judge({"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.90, 1: 0.91, 2: 0.92}}).pairs
    assert str(one_step.decision) == "undecided"
