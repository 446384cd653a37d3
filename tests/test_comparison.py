"""The comparison: one row a variant, the best marked, and words that do not say more than the numbers."""

import io
import json
import re
import statistics
from dataclasses import replace
from html import escape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.figure import draw_comparison
from orchestrator.reporting.comparison.page import comparison_page
from orchestrator.reporting.comparison.tables import comparison_table, difference_table, settings_table, trouble_table
from orchestrator.reporting.comparison.variants import compare
from orchestrator.reporting.comparison.wording import sentence
from orchestrator.reporting.figures import to_png
from orchestrator.reporting.style import literal
from orchestrator.selection import chosen_trials


def trial(
    variant: str, seed: int, accuracy: float | None, status: str = "complete", reached: int | None = None
) -> TrialRow:
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
        reached,
    )


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
    comparison = compare([trial("a", i, 0.9, reached=epoch) for i, epoch in enumerate([2, 1, None])], 0.85)
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
    assert compare(trials[1:2], 0.85).to_dict()["best"] is None


APART = {"a": [0.90, 0.91, 0.92], "b": [0.50, 0.51, 0.52]}


@pytest.mark.parametrize(
    ("accuracies", "evidence", "words"),
    [
        ({"a": [0.9]}, "none", "no other variant"),
        ({"a": [None]}, "none", "No test accuracy yet"),
        ({"a": [0.9], "b": [0.1]}, "none", "One seed says nothing"),
        ({"a": [0.9, 0.9], "b": [0.8, 0.8]}, "none", "without any spread"),
        (APART, "decided", "ahead of every other variant, of b by 3"),
        ({**APART, "c": [0.1, 0.1, 0.1]}, "decided", "ahead of every other variant, of b by 3"),
        (
            {"a": [0.9, 0.91], "b": [0.2, 0.8]},
            "undecided",
            r"not significantly better than b \(-100\.00 to 100\.00 points behind\)\. About \d+ seeds",
        ),
        (
            {"a": [0.90, 0.91, 0.92], "b": [0.90, 0.91, 0.9199]},
            "undecided",
            "Even 100 seeds per variant would probably not confirm 0.00",
        ),
        ({**APART, "c": [0.91]}, "undecided", r"than c \(too few seeds\)\. One seed says nothing"),
        (
            {"a": [0.9, 0.9], "b": [0.9, 0.9]},
            "none",
            "All seeds of a have the same accuracy, and so have all seeds of b",
        ),
        (
            {"a": [0.9, 0.9], "b": [0.9, 0.9], "c": [0.5, 0.6]},
            "undecided",
            r"than b \(no spread between seeds\) and c \(.* behind\)\. All seeds of a have the same accuracy",
        ),
        ({"a": [0.9, 0.9], "b": [0.9, 0.9], "c": [0.9]}, "none", "All seeds of a have the same accuracy"),
    ],
)
def test_the_sentence_does_not_say_more_than_the_numbers(accuracies: dict, evidence: str, words: str) -> None:
    trials = [trial(v, i, a) for v, mine in accuracies.items() for i, a in enumerate(mine)]
    comparison = compare(trials, 0.85)
    assert comparison.evidence == comparison.to_dict()["evidence"] == evidence
    assert re.search(words, sentence(comparison))
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_the_figure_says_why_a_variant_has_no_interval() -> None:
    accuracies = {"a": [0.9, 0.9], "b": [0.9, 0.9], "c": [0.5, 0.52], "d": [0.1]}
    trials = [trial(v, i, a) for v, mine in accuracies.items() for i, a in enumerate(mine)]
    drawn = draw_comparison(compare(trials, 0.85), trials)
    texts = [text.get_text() for text in drawn.axes[1].texts]
    assert texts == ["best", "no spread: no interval", "one seed: no interval"]
    to_png(drawn)


def test_the_caption_says_whose_chance_is_in_the_intervals() -> None:
    # The nearest variant has one seed and so no interval, with or without images.
    accuracies = {"a": [0.9, 0.8], "b": [0.8], "c": [0.5, 0.6]}
    trials = [replace(trial(v, i, a), run_id=f"{v}{i}") for v, mine in accuracies.items() for i, a in enumerate(mine)]
    right = {t.run_id: np.arange(10) < 10 * (t.test_accuracy or 0) for t in trials}
    for known, chance in ((right, "seeds and test images"), ({}, "seeds")):
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(difference_table(compare(trials, 0.85, known)))
        assert f"simultaneous intervals over {chance};" in console.export_text()


def test_survivors_are_named_as_such() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    assert "too optimistic" not in sentence(compare(trials, 0.85))
    lost = [trial("a", 3, None, "stopped"), trial("b", 3, None, "failed")]
    assert "2 failed or were stopped early" in sentence(compare([*trials, *lost], 0.85))


def test_variants_without_a_complete_trial_are_named_and_not_claimed() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    lost = [trial("c", i, None, "stopped") for i in range(3)]
    said = sentence(compare([*trials, *lost], 0.85))
    assert "ahead of every other variant compared, of b" in said
    assert said.endswith("c has no trial with a test accuracy and is not compared.")
    said = sentence(compare([*trials, *lost, *(trial(v, 0, None, "failed") for v in "defg")], 0.85))
    assert said.endswith("c, d, e, f and 1 more have no trial with a test accuracy and are not compared.")


@pytest.mark.parametrize("status", ["failed", "stopped", "running"])
def test_one_complete_variant_is_not_best_where_the_others_are_missing(status: str) -> None:
    trials = [trial("a", 0, 0.90), trial("a", 1, 0.92), trial("b", 0, None, status)]
    said = sentence(compare(trials, 0.85))
    assert said.startswith(
        "a has 91.00 ± 1.41 % test accuracy over n = 2. b has no trial with a test accuracy and is not compared."
    )
    assert ("1 trial is still running: the verdict may change." in said) == (status == "running")


def test_the_lost_trials_of_a_variant_alone_are_counted() -> None:
    said = sentence(compare([trial("a", 0, 0.9), trial("a", 1, None, "failed"), trial("a", 2, None, "stopped")], 0.85))
    assert "no other variant" in said
    assert "2 failed or were stopped early" in said


def test_what_is_still_running_is_counted_and_said() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    comparison = compare([*trials, trial("a", 3, None, "running"), trial("c", 0, None, "running")], 0.85)
    assert [(row.variant, row.running) for row in comparison.rows] == [("a", 1), ("b", 0), ("c", 1)]
    assert comparison.to_dict()["running"] == 2
    assert sentence(comparison).endswith("2 trials are still running: the verdict may change.")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    text = console.export_text()
    assert re.search(r"a \*.* 3/4 ", text)
    assert re.search(r"c .* 0/1 ", text)
    assert ">still running<" in comparison_page("x", "abc", comparison, trials)
    assert "still running" not in comparison_page("x", "abc", compare(trials, 0.85), trials)
    assert sentence(compare([trial("a", 0, None, "running")], 0.85)) == (
        "No trial is complete, so there is nothing to compare. 1 trial is still running: the verdict may change."
    )


def test_a_sample_that_is_still_running_may_yet_be_chosen() -> None:
    trials = [replace(trial("a", 0, 0.9), sample=0), replace(trial("a", 0, None, "running"), sample=1)]
    comparison = compare(trials, 0.85)
    assert (comparison.rows[0].running, comparison.running) == (0, 1)
    assert "1 trial is still running" in sentence(comparison)


def test_unequal_numbers_of_seeds_are_said() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    assert "different numbers" not in sentence(compare(trials, 0.85))
    assert "The variants have different numbers of complete seeds: 2 to 3." in sentence(compare(trials[:-1], 0.85))


def test_of_a_search_the_sample_is_chosen_by_validation_and_all_seeds() -> None:
    drawn = {  # sample: (validation accuracy, test accuracy) of each seed; None: stopped early
        0: [(0.70, 0.99), (0.72, 0.98)],  # best on the test split, which has no say
        1: [(0.80, 0.75), (0.82, 0.77)],
        2: [(0.95, 0.95), None],
    }
    trials = [
        replace(
            trial("a", seed, found[1] if found else None, "complete" if found else "stopped"),
            sample=sample,
            val_accuracy=found[0] if found else None,
        )
        for sample, seeds in drawn.items()
        for seed, found in enumerate(seeds)
    ]
    [row] = compare(trials, 0.85).rows
    assert (row.sample, row.trials, row.stopped) == (1, 2, 0)
    assert row.test_accuracy == pytest.approx(0.76)
    assert {t.sample for t in chosen_trials(trials)["a"]} == {1}
    [row] = compare([t for t in trials if t.sample == 2], 0.85).rows
    assert (row.sample, row.trials, row.stopped) == (2, 1, 1)


def test_the_sample_that_has_been_measured_stays_chosen() -> None:
    def drawn(sample: int, seed: int, status: str, val: float, test: float | None) -> TrialRow:
        row = replace(trial("a", seed, test, status), trial=f"a/seed-{seed}/{sample}", run_id=f"{sample}-{seed}")
        return replace(row, sample=sample, val_accuracy=val)

    trials = [
        drawn(0, 0, "complete", 0.8, 0.75),
        drawn(0, 1, "failed", 0.8, None),  # while it was measured
        drawn(1, 0, "complete", 0.7, None),
        drawn(1, 1, "complete", 0.7, None),
        drawn(2, 0, "complete", 0.9, None),  # had failed when the choice was made
        drawn(2, 1, "complete", 0.9, None),
    ]
    assert {row.sample for row in chosen_trials(trials)["a"]} == {0}
    [row] = compare(trials, 0.85).rows
    assert (row.trials, row.failed, row.test_accuracy) == (1, 1, 0.75)


def test_the_table_fits_eighty_columns_and_marks_the_best() -> None:
    trials = [trial("dilated_separable", s, 0.9 + s / 100, reached=1) for s in range(3)]
    trials.append(trial("depthwise_stride", 0, None, "failed"))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_table(compare(trials, 0.95)))
    console.print(trouble_table(trials))
    trials += [trial("stride", s, 0.8 + s / 1000) for s in range(3)]
    drawn = {"trainer.optimizer.lr": 0.0123456789, "trainer.augmentation.0.RandomCrop.height": 32}
    of_a_search = compare([replace(t, sample=12, settings=drawn) for t in trials], 0.95)
    console.print(comparison_table(of_a_search))
    console.print(settings_table(of_a_search))
    assert settings_table(compare(trials, 0.95)) is None
    console.print(difference_table(compare(trials, 0.95)))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert re.search(r"dilated_separable +32 +0.01235", text)
    assert "dilated_separable *" in text
    assert re.search(r"stride +10\.90 +\d+\.\d\d to \d+\.\d\d +yes", text)
    assert "91.00 ± 1.00" in text
    assert "…" not in text
    assert "depthwise_stride/seed-0" in text


@pytest.mark.parametrize("count", [0, 1, 2, 12])
def test_the_figure_and_the_page_hold_every_variant(count: int) -> None:
    names = [f"v<{i}>&$x$" for i in range(count)]
    trials = [trial(name, s, 0.9 - i / 50 + s / 1000) for i, name in enumerate(names) for s in range(1 + i % 4)]
    trials.append(trial("lost", 0, None, "failed"))
    comparison = compare(trials, 0.85)
    drawn = draw_comparison(comparison, trials)
    to_png(drawn)
    labels = [label.get_text() for axes in drawn.axes[:1] for label in axes.get_yticklabels()]
    assert labels == [f"{literal(row.variant)}  n = {row.trials}" for row in comparison.rows if row.trials]
    page = comparison_page("ex<p>", "abc", comparison, trials)
    assert "<p>ex" not in page
    assert "ex&lt;p&gt;" in page
    for name in names:
        assert name not in page
        assert f"{escape(name)}/seed-0" in page
    assert "http" not in page.replace("http-equiv", "")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=9))
def test_whatever_the_accuracies_there_are_words_and_json(drawn: list[tuple[str, float]]) -> None:
    comparison = compare([trial(v, i, a) for i, (v, a) in enumerate(drawn)], 0.85)
    assert sentence(comparison).endswith(".")
    assert (difference_table(comparison) is None) == (comparison.evidence == "none")
    json.dumps(comparison.to_dict(), allow_nan=False)
