"""The statistics of the verdict: SciPy's procedures as oracles, and how often the intervals are wrong."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.reporting.comparison import differences as rules
from orchestrator.reporting.comparison.differences import MOST_SEEDS, NO_SPREAD, ONE_SEED, Sample, differences
from orchestrator.reporting.comparison.studentized_range import critical, exceeds

ACCURACIES = st.lists(st.integers(0, 1000).map(lambda i: i / 1000), min_size=2, max_size=6)


@pytest.mark.parametrize("groups", [2, 5, 12])
@pytest.mark.parametrize("df", [1.0, 2.7, 4.0, 30.5, math.inf])
def test_the_studentized_range_is_scipys(groups: int, df: float) -> None:
    for q in (0.0, 1.0, 3.5, 9.0):
        assert exceeds(q, groups, df) == pytest.approx(stats.studentized_range.sf(q, groups, df), abs=1e-5)
    q = critical(0.95, groups, df)
    assert stats.studentized_range.sf(q, groups, df) == pytest.approx(0.05, abs=1e-5)


def test_without_pictures_it_is_games_and_howells_procedure() -> None:
    groups = [[0.91, 0.93, 0.90, 0.92], [0.88, 0.90, 0.85], [0.70, 0.71, 0.69, 0.70, 0.72]]
    oracle = stats.tukey_hsd(*groups, equal_var=False).confidence_interval(0.95)
    found = differences([Sample(str(i), group) for i, group in enumerate(groups)])
    assert [d.variant for d in found] == ["1", "2"]
    for d in found:
        other = int(d.variant)
        assert d.best == "0"
        assert d.difference == pytest.approx(np.mean(groups[0]) - np.mean(groups[other]))
        assert (d.low, d.high) == (
            pytest.approx(oracle.low[0, other], abs=1e-4),
            pytest.approx(oracle.high[0, other], abs=1e-4),
        )
        assert d.images is None


def test_without_spread_over_seeds_it_is_mcnemars_variance() -> None:
    stream = np.random.default_rng(0)
    right = [stream.random(400) < share for share in (0.9, 0.8)]
    samples = [Sample(str(i), [r.mean()] * 2, np.stack([r, r])) for i, r in enumerate(right)]
    [d] = differences(samples)
    only_first, only_second = (right[0] & ~right[1]).mean(), (right[1] & ~right[0]).mean()
    variance = (only_first + only_second - (only_first - only_second) ** 2) / 399
    assert d.difference == pytest.approx(only_first - only_second)
    assert d.high - d.difference == pytest.approx(stats.norm.isf(0.025) * math.sqrt(variance), rel=1e-3)
    assert d.images == 400


@given(st.lists(ACCURACIES, min_size=2, max_size=4))
@example([[0.90, 0.92], [0.828, 0.844, 0.828, 0.844, 0.828, 0.844]])
def test_the_best_comes_first_its_interval_holds_the_difference_and_the_advice_is_more_seeds(
    drawn: list[list[float]],
) -> None:
    samples = [Sample(str(i), accuracies) for i, accuracies in enumerate(drawn)]
    found = differences(samples)
    assert [d.difference for d in found] == sorted(d.difference for d in found)
    assert found[0].difference >= 0
    assert {d.variant for d in found} | {found[0].best} == {s.variant for s in samples}
    for d in found:
        assert (d.low is None) == (d.high is None)
        assert d.unknown == (NO_SPREAD if d.low is None else None)
        if d.low is not None and d.high is not None:
            assert d.low <= d.difference <= d.high
            assert -1 <= d.low <= d.high <= 1
        if d.seeds_to_tell is not None:
            assert not d.told_apart
            assert d.difference > 0
            assert min(len(drawn[int(d.best)]), len(drawn[int(d.variant)])) < d.seeds_to_tell <= MOST_SEEDS


def test_two_seeds_that_do_not_tell_are_not_advised_again() -> None:
    [d] = differences([Sample("a", [0.9444, 0.9445]), Sample("b", [0.90, 0.91])])
    assert (d.told_apart, d.seeds_to_tell) == (False, 3)


def test_the_advice_tells_apart_where_one_variant_spreads_alone() -> None:
    present = [[0.9444, 0.9445], [0.893, 0.917]]
    [d] = differences([Sample(name, accuracies) for name, accuracies in zip("ab", present, strict=True)])
    assert not d.told_apart
    assert d.seeds_to_tell is not None
    again = []
    for accuracies in present:  # the same means and spreads with as many seeds as advised
        drawn = np.linspace(0, 1, d.seeds_to_tell)
        scaled = np.mean(accuracies) + np.std(accuracies, ddof=1) * (drawn - drawn.mean()) / drawn.std(ddof=1)
        again.append(Sample(str(len(again)), scaled.tolist()))
    assert differences(again)[0].told_apart


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("apart", [0, 1])
def test_without_any_spread_nothing_is_known_of_chance(seeds: int, apart: int) -> None:
    # Equal predictions at every picture, or accuracies (0.1, as a float, has means that are not quite 0.1).
    right = np.arange(10) < 1
    samples = [Sample("a", [0.1 + 0.1 * apart] * seeds), Sample("b", [0.1] * seeds)]
    pictured = [Sample(name, [0.1] * seeds, np.stack([right] * seeds)) for name in "ab"]
    for d in (*differences(samples), *differences(pictured)):
        assert (d.low, d.high, d.told_apart, d.seeds_to_tell, d.unknown) == (None, None, False, None, NO_SPREAD)


def test_pictures_only_widen_an_interval_and_one_seed_has_none() -> None:
    stream = np.random.default_rng(1)
    right = [stream.random((3, 500)) < share for share in (0.9, 0.85)]
    accuracies = [r.mean(axis=1).tolist() for r in right]
    [alone] = differences([Sample("a", accuracies[0]), Sample("b", accuracies[1])])
    [both] = differences([Sample("a", accuracies[0], right[0]), Sample("b", accuracies[1], right[1])])
    assert both.high - both.low > alone.high - alone.low
    [single] = differences([Sample("a", [0.9]), Sample("b", accuracies[1])])
    assert (single.low, single.told_apart, single.seeds_to_tell, single.unknown) == (None, False, None, ONE_SEED)


def test_the_seeds_that_it_advises_do_tell_four_times_in_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "critical", _interpolated)
    stream = np.random.default_rng(2)
    spread, apart = 0.004, 0.008
    pilot = [stream.normal(0, spread, 3) for _ in range(2)]
    scaled = [apart * (i == 0) + spread * (p - p.mean()) / p.std(ddof=1) for i, p in enumerate(pilot)]
    [d] = differences([Sample(str(i), s.tolist()) for i, s in enumerate(scaled)])
    assert d.seeds_to_tell is not None
    told = 0
    for _ in range(400):
        drawn = [stream.normal(apart * (i == 0), spread, d.seeds_to_tell) for i in range(2)]
        [again] = differences([Sample(str(i), s.tolist()) for i, s in enumerate(drawn)])
        told += again.told_apart
    assert 0.7 < told / 400 < 0.92


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("by_seed", [0.0, 0.05, 0.15])
def test_equal_networks_are_told_apart_one_time_in_twenty_at_most(
    seeds: int, by_seed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five networks that are equally good on all pictures that there are, with unequal spreads over seeds: whether a
    # picture is right depends on how hard it is, how hard for this network, on the seed, and on the rest.
    monkeypatch.setattr(rules, "critical", _interpolated)
    monkeypatch.setattr(rules, "_seeds_to_tell", lambda *_: None)
    stream, wrong, times = np.random.default_rng(3), 0, 400
    for _ in range(times):
        hard = stream.standard_normal(1000)
        samples = []
        for network in range(5):
            latent = 1.1 + hard + 0.3 * stream.standard_normal(1000) + 0.5 * stream.standard_normal((seeds, 1000))
            right = latent + by_seed * (1 + network % 3) * stream.standard_normal((seeds, 1)) > 0
            samples.append(Sample(str(network), right.mean(axis=1).tolist(), right))
        wrong += any(d.told_apart for d in differences(samples))
    assert stats.binomtest(wrong, times, 0.05, "greater").pvalue > 0.001


@cache
def _grid(level: float, groups: int) -> tuple[list[float], list[float]]:
    df = [*np.linspace(1, 12, 45), *np.linspace(13, 60, 24), 100, 1000, 1e5]
    return df, [critical(level, groups, float(one)) for one in df]


def _interpolated(level: float, groups: int, df: float) -> float:
    """As :func:`critical`, a thousand times as fast."""
    return float(np.interp(min(df, 1e5), *_grid(level, groups)))
