"""Are the seeds enough: known numbers of pairs, and SciPy's noncentral t."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.verdict import judge
from orchestrator.verdict.planning import MOST_SEEDS, detectable, more_seeds
from orchestrator.verdict.student import StandardError, noncentrality, upper_bound


@pytest.mark.parametrize(("ratio", "pairs"), [(0.5, 34), (1.0, 10), (1.5, 6), (2.0, 5)])
def test_the_known_numbers_of_pairs_for_a_power_of_0_8(ratio: float, pairs: int) -> None:
    enough = [n for n in range(3, 40) if noncentrality(n - 1, 0.05) / math.sqrt(n) <= ratio]
    assert enough[0] == pairs


@pytest.mark.parametrize("df", [1, 2, 4, 33, 999])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 45, 0.05 / 190])
def test_the_noncentrality_gives_that_power(df: int, alpha: float) -> None:
    critical = stats.t.isf(alpha / 2, df)
    assert stats.nct.sf(critical, df, noncentrality(df, alpha)) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("n", "factor"), [(2, 3.947), (3, 2.117), (5, 1.557)])
def test_plans_are_made_with_the_upper_bound_of_the_standard_deviation(n: int, factor: float) -> None:
    error = StandardError(((1.0, n),))
    assert upper_bound(n - 1) == pytest.approx(factor, abs=1e-3)
    assert upper_bound(n - 1) == pytest.approx(math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1)))
    assert detectable(error, 0.05) == pytest.approx(noncentrality(n - 1, 0.05) * factor / math.sqrt(n), rel=1e-3)


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e-2), st.integers(2, 30)), min_size=1, max_size=2),
    st.floats(1e-4, 0.2),
    st.sampled_from([0.05, 0.001]),
)
def test_the_advice_is_the_smallest_number_that_is_enough(
    parts: list[tuple[float, int]], target: float, alpha: float
) -> None:
    error = StandardError(tuple((sd**2, n) for sd, n in parts))
    more = more_seeds(error, alpha, target)
    if more is None:
        assert detectable(error, alpha, MOST_SEEDS) > target
        return
    fewest = min(n for _, n in parts)
    assert detectable(error, alpha, more) <= target
    assert fewest + more >= 3
    assert more <= max(0, 3 - fewest) or detectable(error, alpha, more - 1) > target


def test_the_advice_of_a_verdict_is_about_the_difference_or_the_margin() -> None:
    drawn = np.array([0.0, 0.004, -0.004, 0.002, -0.002])
    scores = {"a": dict(enumerate((0.9010371 + drawn).tolist())), "b": dict.fromkeys(range(5), 0.9)}
    [plain], [coarse], [fine] = (judge(scores, margin=margin).pairs for margin in (None, 0.003, 0.0002))
    sd = float(np.std(drawn, ddof=1))
    upper = sd * math.sqrt(4 / stats.chi2.ppf(0.2, 4))
    assert plain.detectable == pytest.approx(noncentrality(4, 0.05) * upper / math.sqrt(5), rel=1e-3)
    for pair, target in ((plain, 0.001), (coarse, 0.003), (fine, 0.001)):
        assert pair.more_seeds is not None
        n = 5 + pair.more_seeds
        assert noncentrality(n - 1, 0.05) * upper / math.sqrt(n) <= target * 1.05
    assert coarse.more_seeds < plain.more_seeds == fine.more_seeds  # type: ignore[operator]


def test_a_difference_of_nothing_and_one_far_below_the_spread_have_no_advice() -> None:
    error = StandardError(((1e-4, 3),))
    assert more_seeds(error, 0.05, 0.0) is None
    assert more_seeds(error, 0.05, 1e-5) is None


def test_the_planned_seeds_show_the_difference_four_times_in_five() -> None:
    # The pilot's standard deviation is such that its upper bound is the truth.
    stream, sd, apart, pilot = np.random.default_rng(2), 0.004, 0.008, 4
    error = StandardError(((sd**2 * stats.chi2.ppf(0.2, pilot - 1) / (pilot - 1), pilot),))
    more = more_seeds(error, 0.05, apart)
    assert more is not None
    times, found = 600, 0
    for _ in range(times):
        a = 0.9 + apart + sd * stream.standard_normal(pilot + more)
        scores = {"a": dict(enumerate(a.tolist())), "b": dict.fromkeys(range(pilot + more), 0.9)}
        found += judge(scores).pairs[0].told_apart
    assert stats.binomtest(found, times, 0.8, "less").pvalue > 0.001
    assert found / times < 0.95  # and not by far too many seeds
