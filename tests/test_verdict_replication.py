"""A published accuracy replicated or not: SciPy's one-sample tests are the oracle."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.errors import RequestError
from orchestrator.verdict import judge, replicate

SCORES = (0.9041, 0.8967, 0.9013, 0.8992)


def test_the_interval_is_students() -> None:
    found = replicate(SCORES, 0.9, 0.01, confidence=0.9)
    oracle = stats.ttest_1samp(SCORES, 0.9).confidence_interval(0.9)
    assert (found.low, found.high) == (pytest.approx(oracle.low), pytest.approx(oracle.high))
    assert (found.n, found.mean) == (4, pytest.approx(np.mean(SCORES)))
    assert found.difference == pytest.approx(np.mean(SCORES) - 0.9)


@pytest.mark.parametrize(
    ("published", "margin", "decision"),
    [
        (0.900, 0.010, "replicated"),
        (0.900, 0.001, "undecided"),  # neither different nor shown to be within the margin
        (0.880, 0.010, "better"),
        (0.920, 0.010, "not replicated"),
        (0.907, 0.020, "replicated"),  # significantly below, and still within what counts as the same
    ],
)
def test_the_four_outcomes(published: float, margin: float, decision: str) -> None:
    assert replicate(SCORES, published, margin).decision == decision


@given(st.lists(st.floats(0.5, 0.9), min_size=3, max_size=8, unique=True), st.floats(0.6, 0.8), st.floats(0.001, 0.3))
def test_the_outcome_is_two_one_sided_tests_and_a_two_sided_one(
    scores: list[float], published: float, margin: float
) -> None:
    found = replicate(scores, published, margin)
    if found.reason or np.std(scores) < 1e-3:  # rounding, which SciPy's test does not know
        return
    below = stats.ttest_1samp(scores, published + margin, alternative="less").pvalue
    above = stats.ttest_1samp(scores, published - margin, alternative="greater").pvalue
    different = stats.ttest_1samp(scores, published).pvalue
    if min(abs(max(below, above) - 0.05), abs(different - 0.05)) < 1e-3:
        return
    if max(below, above) < 0.05:
        assert found.decision == "replicated"
    elif different < 0.05:
        assert found.decision == ("better" if np.mean(scores) > published else "not replicated")
    else:
        assert found.decision == "undecided"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([], "no complete seed"),
        ([0.9], "one seed"),
        ([0.9, 0.9001], "fewer than three seeds"),
        ([0.9] * 4, "no spread"),
    ],
)
def test_without_evidence_it_is_undecided_with_a_reason(scores: list[float], reason: str) -> None:
    found = replicate(scores, 0.9, 0.05)
    assert found.decision == "undecided"
    assert reason in (found.reason or "")
    assert json.loads(json.dumps(found.to_dict()))["decision"] == "undecided"


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_scores_may_be_an_array_or_a_series(kind: Any) -> None:
    for scores in (SCORES, SCORES[:1]):
        assert replicate(kind(scores), 0.9, 0.01) == replicate(scores, 0.9, 0.01)
    assert replicate(kind([]), 0.9, 0.01).n == 0
    with pytest.raises(RequestError, match="scores, seed 1"):
        replicate(kind([0.9, float("nan")]), 0.9, 0.01)


@pytest.mark.parametrize("kind", [dict, pd.Series, lambda seeds: list(seeds.items())])
def test_what_is_judged_may_be_series_and_lists(kind: Any) -> None:
    scores = {"a": {0: 0.9, 1: 0.91, 2: 0.92}, "b": {0: 0.8, 1: 0.82, 2: 0.81}}
    right = {(variant, seed): [True, seed > 0, variant == "a"] for variant in scores for seed in range(3)}
    found = judge({v: kind(seeds) for v, seeds in scores.items()}, predictions=right)  # type: ignore[arg-type]
    assert found == judge(scores, predictions={trial: np.array(r) for trial, r in right.items()})
    assert judge(pd.DataFrame(scores)) == judge(scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "predictions", "words"),
    [
        ({"a": [0.9, 0.8]}, None, "a: give scores by seed, such as .*, not list"),
        ({"a": 0.9}, None, "a: give scores by seed, .* not float"),
        ({"a": {0: "0.9"}}, None, "a, seed 0: an accuracy is a fraction from 0 to 1, not 0.9"),
        ({"a": {0: None}}, None, "a, seed 0: an accuracy is a fraction from 0 to 1, not None"),
        ([0.9, 0.8], None, "scores: .* not list"),
        ({"a": {0: 0.9}}, {("a", 0): [1, 0]}, "predictions of a, seed 0: .* bool"),
        ({"a": {0: 0.9}}, {("a", 0): [[True], [True, False]]}, "predictions of a, seed 0: .* bool"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores: Any, predictions: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        judge(scores, predictions=predictions)


def test_a_wrong_margin_and_an_accuracy_in_percent_are_refused() -> None:
    with pytest.raises(RequestError, match="margin"):
        replicate(SCORES, 0.9, 0)
    with pytest.raises(RequestError, match="published accuracy"):
        replicate(SCORES, 90.0, 0.01)
    with pytest.raises(RequestError, match="seed 1"):
        replicate([0.9, 91.0], 0.9, 0.01)


def test_a_wrong_replicated_at_the_margins_edge_is_one_time_in_twenty() -> None:
    stream, times = np.random.default_rng(3), 2000
    wrong = sum(
        replicate((0.89 + 0.004 * stream.standard_normal(4)).tolist(), 0.9, 0.01).decision == "replicated"
        for _ in range(times)
    )
    assert stats.binomtest(wrong, times, 0.05, "greater").pvalue > 0.001
