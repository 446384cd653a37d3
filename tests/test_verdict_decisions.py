"""The decision on each pair, and what the whole verdict says: leaders, order, baseline, front, refusals."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import RequestError
from orchestrator.verdict import Decision, Verdict, judge
from orchestrator.verdict.pareto import pareto_front
from orchestrator.verdict.result import VariantScore

ACCURACY = st.integers(0, 500).map(lambda count: count / 500)


def around(center: float, sd: float, n: int = 5) -> dict[int, float]:
    """``n`` seeds (at least 2) with exactly this mean and standard deviation."""
    drawn = np.random.default_rng(round(1e6 * center)).standard_normal(n)
    return dict(enumerate((center + sd * (drawn - drawn.mean()) / drawn.std(ddof=1)).tolist()))


@given(
    st.lists(st.dictionaries(st.integers(0, 7), ACCURACY, max_size=7), min_size=1, max_size=5),
    st.sampled_from([None, 0.01, 0.2]),
    st.booleans(),
)
@settings(deadline=None)
def test_decisions_intervals_and_leaders_agree(drawn: list[dict[int, float]], margin: float, held: bool) -> None:
    scores = {f"v{i}": seeds for i, seeds in enumerate(drawn)}
    verdict = judge(scores, margin=margin, baseline="v0" if held else None)
    means = [score.mean for score in verdict.variants if score.mean is not None]
    assert means == sorted(means, reverse=True)
    assert {score.variant for score in verdict.variants} == scores.keys()
    measured = len(means)
    possible = measured * (measured - 1) // 2
    assert len(verdict.pairs) == (possible if not held else measured - 1 if scores["v0"] else 0)
    for pair in verdict.pairs:
        assert pair.difference >= 0
        assert pair.told_apart == (pair.low is not None and pair.low > 0)
        if pair.low is not None and pair.high is not None:
            assert -1 <= pair.low <= pair.difference <= pair.high <= 1
        if pair.n < 3 or pair.p is None:
            assert pair.decision is Decision.UNDECIDED
            assert pair.reason
        if margin is None:
            assert pair.decision in (Decision.BETTER, Decision.UNDECIDED)
        if pair.told_apart:
            assert pair.p_adjusted is not None
            assert pair.p_adjusted <= 1 - verdict.confidence
        assert (pair.more_seeds is None) or pair.decision is Decision.UNDECIDED
        assert pair.p is None or (pair.p_adjusted is not None and pair.p <= pair.p_adjusted <= 1)
    told = {pair.b for pair in verdict.pairs if pair.told_apart and pair.a == verdict.variants[0].variant}
    assert set(verdict.leaders) == {score.variant for score in verdict.variants if score.n} - told
    assert json.loads(json.dumps(verdict.to_dict()))["sentence"] == verdict.sentence


def test_the_four_decisions() -> None:
    def decision(difference: float, sd: float, margin: float | None) -> str:
        scores = {"a": around(0.9 + difference, sd), "b": dict.fromkeys(range(5), 0.9)}
        return str(judge(scores, margin=margin).pairs[0].decision)

    assert decision(0.02, 0.002, None) == "better"
    assert decision(0.02, 0.002, 0.01) == "better"
    assert decision(0.0005, 0.002, 0.01) == "equivalent"
    assert decision(0.005, 0.002, 0.01) == "better by less than the margin"
    assert decision(0.0005, 0.002, None) == "undecided"
    assert decision(0.01, 0.02, 0.01) == "undecided"


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_decide_nothing(n: int) -> None:
    verdict = judge({"a": around(0.9, 1e-5, n) if n > 1 else {0: 0.9}, "b": dict.fromkeys(range(n), 0.5)}, margin=0.45)
    [pair] = verdict.pairs
    assert pair.decision is Decision.UNDECIDED
    assert verdict.leaders == ("a", "b")
    if n == 2:
        assert pair.p is not None
        assert pair.p < 0.001
        assert pair.low == 0  # widened to the decision
        assert pair.more_seeds == 1


def test_holms_procedure_decides_where_bonferronis_interval_reaches_zero() -> None:
    # p values near 0.0001, 0.0001 and 0.03: the last one is tested at 0.05, and its interval is at 1 - 0.05 / 3.
    scores = {"a": around(0.9022, 0.0015), "b": dict.fromkeys(range(5), 0.9), "c": around(0.8, 0.001)}
    pair = judge(scores).pair("a", "b")
    assert pair is not None
    assert pair.p is not None
    assert 0.05 / 3 < pair.p < 0.05
    assert pair.decision is Decision.BETTER
    assert pair.low is not None
    assert 0 < pair.low < 1e-300


def test_a_baseline_leaves_the_pairs_with_it_and_their_family() -> None:
    scores = {name: around(0.9 + 0.001 * i, 0.002) for i, name in enumerate("abcd")}
    everything, against = judge(scores), judge(scores, baseline="b")
    assert (len(everything.pairs), len(against.pairs), against.baseline) == (6, 3, "b")
    assert all("b" in (pair.a, pair.b) for pair in against.pairs)
    for verdict, family in ((everything, 6), (against, 3)):
        first = min(verdict.pairs, key=lambda pair: pair.p or 1)
        assert first.p_adjusted == pytest.approx(min(family * (first.p or 1), 1))
    for pair in against.pairs:
        same = everything.pair(pair.a, pair.b)
        assert same is not None
        assert (same.p, same.difference) == (pair.p, pair.difference)
        assert (same.high or 0) > (pair.high or 0)  # fewer comparisons, narrower intervals


def test_pairs_come_with_the_bests_first_and_can_be_looked_up() -> None:
    verdict = judge({name: around(0.9 + 0.001 * i, 0.002) for i, name in enumerate("abc")})
    assert [(pair.a, pair.b) for pair in verdict.pairs] == [("c", "b"), ("c", "a"), ("b", "a")]
    assert verdict.pair("a", "c") is verdict.pair("c", "a") is verdict.pairs[1]


def test_equal_means_are_a_tie_in_the_given_order() -> None:
    verdict = judge({"b": {0: 0.9, 1: 0.91, 2: 0.92}, "a": {0: 0.92, 1: 0.9, 2: 0.91}})
    assert verdict.leaders == ("b", "a")
    assert verdict.pairs[0].difference == 0
    assert verdict.pairs[0].p == 1


@given(st.lists(st.tuples(ACCURACY, st.sampled_from([1.0, 2.0, 3.0, math.nan])), max_size=8))
def test_the_front_is_what_no_other_dominates(points: list[tuple[float, float]]) -> None:
    scores = [VariantScore(f"v{i}", 1, mean, None) for i, (mean, _) in enumerate(points)]
    cost = {f"v{i}": cost for i, (_, cost) in enumerate(points)}
    known = {f"v{i}": point for i, point in enumerate(points) if math.isfinite(point[1])}

    def dominated(mine: tuple[float, float]) -> bool:
        return any(o[0] >= mine[0] and o[1] <= mine[1] and o != mine for o in known.values())

    found = pareto_front([*scores, VariantScore("absent", 0, None, None)], {**cost, "absent": 0.0})
    assert set(found) == {name for name, point in known.items() if not dominated(point)}
    assert [cost[name] for name in found] == sorted(cost[name] for name in found)


def test_every_cost_has_a_front() -> None:
    scores = {"a": {0: 0.9}, "b": {0: 0.8}, "c": {0: 0.85}}
    verdict = judge(scores, costs={"parameters": {"a": 3, "b": 1, "c": 4}, "seconds": {"a": 1, "b": 2}})
    assert verdict.front == {"parameters": ("b", "a"), "seconds": ("a",)}


def test_importing_the_statistics_does_not_import_scipy() -> None:
    code = "import sys, orchestrator.verdict; sys.exit('scipy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_to_compare_is_no_error() -> None:
    for scores in ({}, {"a": {}}, {"a": {}, "b": {}}):
        verdict = judge(scores)
        assert isinstance(verdict, Verdict)
        assert (verdict.pairs, verdict.leaders) == ((), ())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"baseline": "strid"}, ["baseline: strid", "did you mean stride?", "stride, wide"]),
        ({"margin": 0.0}, ["margin: 0.0", "between 0 and 1"]),
        ({"margin": 1.0}, ["margin: 1.0"]),
        ({"margin": math.nan}, ["margin: nan"]),
        ({"confidence": 0.5}, ["confidence: 0.5", "0.95 is usual"]),
        ({"confidence": 1.0}, ["confidence: 1.0"]),
        ({"scores": {"stride": {3: 93.1}}}, ["stride, seed 3", "fraction from 0 to 1", "93.1"]),
        ({"scores": {"stride": {3: math.nan}}}, ["stride, seed 3", "nan"]),
        (
            {"predictions": {("stride", 0): np.ones(5, dtype=bool), ("wide", 0): np.ones(6, dtype=bool)}},
            ["5 images of stride, seed 0", "6 images of wide, seed 0"],
        ),
        ({"predictions": {("stride", 0): np.ones((5, 1), dtype=bool)}}, ["stride, seed 0", "(N,) bool"]),
    ],
)
def test_wrong_arguments_are_refused_in_words(changed: dict, words: list[str]) -> None:
    arguments = {"scores": {"stride": {0: 0.9}, "wide": {0: 0.8}}, **changed}
    with pytest.raises(RequestError) as caught:
        judge(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_two_seeds_neither_decide_nor_help_another_pair_to_a_decision() -> None:
    few, none = {0: 0.3001, 1: 0.3003}, {0: 0.9001}
    a, b = {0: 0.9512, 1: 0.9533, 2: 0.9541}, {0: 0.9475, 1: 0.9482, 2: 0.9475}
    for c in (few, none):
        verdict = judge({"a": a, "b": b, "c": c})
        assert {str(pair.decision) for pair in verdict.pairs} == {"undecided"}
        assert {pair.p_adjusted for pair in verdict.pairs if "c" in (pair.a, pair.b)} == {1.0 if c is few else None}


def test_what_is_worse_than_the_baseline_is_worse_than_what_is_better_than_it() -> None:
    scores = {
        "high": {0: 0.95, 1: 0.951, 2: 0.953},
        "base": {0: 0.90, 1: 0.901, 2: 0.9035},
        "low": {0: 0.80, 1: 0.802, 2: 0.803},
    }
    assert judge(scores, baseline="base").leaders == ("high",)
    assert judge(scores, baseline="low").leaders == ("high", "base")  # these two are not compared
