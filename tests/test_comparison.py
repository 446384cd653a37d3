"""The comparison: one row a variant, the best marked, and words that do not say more than the numbers."""

import io
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison import compare
from orchestrator.reporting.terminal import comparison_table, trouble_table


def trial(variant: str, seed: int, accuracy: float | None, status: str = "complete", curve=()) -> TrialRow:
    return TrialRow(
        f"{variant}/seed-{seed}",
        "run",
        variant,
        seed,
        status,
        "why",
        3,
        1000,
        2_000_000,
        55,
        None,
        accuracy,
        2.0,
        curve,
    )


def in_words(trials: list[TrialRow]) -> str:
    return compare(trials, 0.85).sentence()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1, max_size=12))
def test_means_spreads_and_order(drawn: list[tuple[str, float]]) -> None:
    comparison = compare([trial(v, i, a) for i, (v, a) in enumerate(drawn)], 0.85)
    means = [row.test_accuracy for row in comparison.rows]
    assert means == sorted(means, reverse=True)
    assert [row.best for row in comparison.rows] == [True] + [False] * (len(means) - 1)
    for row in comparison.rows:
        mine = [a for v, a in drawn if v == row.variant]
        assert row.test_accuracy == pytest.approx(statistics.fmean(mine))
        assert row.spread == (pytest.approx(statistics.stdev(mine)) if len(mine) > 1 else None)
        assert (row.trials, row.lowest, row.highest) == (len(mine), min(mine), max(mine))


def test_epochs_to_the_target_are_the_median_of_those_who_reached_it() -> None:
    curves = [((1, 0.5), (2, 0.9)), ((1, 0.9),), ((1, 0.1), (2, 0.2))]
    comparison = compare([trial("a", i, 0.9, curve=curve) for i, curve in enumerate(curves)], 0.85)
    assert (comparison.rows[0].epochs_to_target, comparison.rows[0].reached_target) == (1.5, 2)


def test_trials_that_did_not_end_well_are_counted_and_not_averaged() -> None:
    trials = [
        trial("a", 0, 0.9),
        trial("a", 1, None, "failed"),
        trial("a", 2, None, "stopped"),
        trial("b", 0, None, "failed"),
    ]
    first, second = compare(trials, 0.85).rows
    assert (first.test_accuracy, first.trials, first.failed, first.stopped) == (0.9, 1, 1, 1)
    assert (second.variant, second.test_accuracy, second.failed, second.best) == ("b", None, 1, False)
    assert compare(trials[1:2], 0.85).verdict["best"] is None


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ({"a": [0.9]}, "no other variant"),
        ({"a": [0.9, 0.91], "b": [0.1, 0.12]}, "fewer than 3 seeds"),
        ({"a": [0.90, 0.91, 0.92], "b": [0.90, 0.91, 0.915]}, "within the spread"),
        ({"a": [0.90, 0.91, 0.92], "b": [0.50, 0.51, 0.52]}, "more than the spread"),
        ({"a": [None]}, "nothing to compare"),
    ],
)
def test_the_sentence_does_not_say_more_than_the_numbers(accuracies: dict, words: str) -> None:
    trials = [trial(v, i, a) for v, mine in accuracies.items() for i, a in enumerate(mine)]
    assert words in in_words(trials)


def test_the_table_fits_eighty_columns_and_marks_the_best() -> None:
    trials = [trial("dilated_separable", s, 0.9 + s / 100, curve=((1, 0.9),)) for s in range(3)]
    trials.append(trial("depthwise_stride", 0, None, "failed"))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_table(compare(trials, 0.95)))
    console.print(trouble_table(trials))
    text = console.export_text()
    assert "dilated_separable *" in text
    assert "91.00 ± 1.00" in text
    assert "…" not in text
    assert "depthwise_stride/seed-0" in text
