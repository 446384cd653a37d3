"""The comparison: one row per variant, the best marked, and words that do not say more than the numbers."""

import io
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.rounds import launch_rounds
from orchestrator.reporting.comparison.search_words import sentences
from orchestrator.reporting.comparison.tables import (
    comparison_table,
    cost_table,
    settings_table,
    stopped_table,
    trouble_table,
)
from orchestrator.reporting.comparison.variants import Comparison, compare
from orchestrator.selection import chosen_trials
from orchestrator.spec import VerdictSettings
from orchestrator.tracking.read import Judging
from orchestrator.workflow.comparison import Comparison as Compared
from orchestrator.workflow.results import Results


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


APART = {"a": [0.90, 0.91, 0.92], "b": [0.50, 0.52, 0.51]}
SCOPE = "This is about these networks with this recipe on this data and split."


def judged(accuracies: Mapping[str, Sequence[float | None]], **settings: Any) -> Comparison:
    trials = [trial(v, i, a) for v, mine in accuracies.items() for i, a in enumerate(mine)]
    return compare(trials, 0.85, settings=VerdictSettings(**settings))


@pytest.mark.parametrize(
    ("accuracies", "evidence", "words"),
    [
        ({"a": [0.9]}, "none", "no other variant"),
        ({"a": [None]}, "none", "No test accuracy yet"),
        ({"a": [0.9], "b": [0.1]}, "none", "One seed cannot decide"),
        ({"a": [0.9, 0.9], "b": [0.8, 0.8]}, "none", "cannot decide"),
        ({"a": [0.9, 0.91], "b": [0.2, 0.8]}, "undecided", "cannot decide"),
        ({"a": [0.92, 0.90, 0.91], "b": [0.50, 0.51, 0.52]}, "decided", "a is better than"),
        ({"a": [0.9, 0.91, 0.93], "b": [0.9, 0.92, 0.91]}, "undecided", "not told apart"),
        ({"a": [0.9] * 3, "b": [0.9] * 3}, "none", "not told apart"),
    ],
)
def test_the_sentence_does_not_say_more_than_the_numbers(accuracies: dict, evidence: str, words: str) -> None:
    comparison = judged(accuracies)
    assert comparison.evidence == comparison.to_dict()["evidence"] == evidence
    assert words in comparison.sentence
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_of_variants_that_only_a_baseline_was_compared_with_the_best_is_not_known() -> None:
    others = {"a": [0.901, 0.902, 0.903], "b": [0.9, 0.9015, 0.902], "base": [0.80, 0.801, 0.802]}
    comparison = judged(others, baseline="base")
    assert set(comparison.verdict.leaders) == {"a", "b"}
    assert comparison.evidence == "undecided"
    assert judged({name: others[name] for name in ("a", "base")}, baseline="base").evidence == "decided"


def test_the_json_document_keeps_its_keys_and_has_the_verdict() -> None:
    document = judged(APART, margin=0.01).to_dict()
    assert {"best", "runner_up", "margin", "evidence", "level", "running", "target_accuracy"} <= document.keys()
    assert {"sentence", "leaders", "pairs", "variants", "front", "confidence", "baseline"} <= document.keys()
    assert (document["best"], document["runner_up"], document["leaders"]) == ("a", "b", ["a"])
    assert document["margin"] == pytest.approx(0.4)
    assert document["equivalence_margin"] == 0.01
    [pair] = document["pairs"]
    assert {
        "a", "b", "n", "difference", "low", "high", "p_adjusted", "p_a_beats_b", "decision", "detectable", "more_seeds",
        "low_new_images", "high_new_images",
    } <= pair.keys()  # fmt: skip
    first = document["variants"][0]
    assert first["leader"]
    assert first["test_accuracy"] == pytest.approx(0.91)
    assert first["interval"] == pytest.approx([0.91 - 0.02484, 0.91 + 0.02484], abs=1e-4)  # Student's t, n = 3
    assert document["front"] == {"parameters": ["a"], "macs": ["a"], "seconds": ["a"]}


def test_the_settings_of_the_verdict_are_followed() -> None:
    three = {**APART, "c": [0.905, 0.912, 0.921]}
    assert len(judged(three).verdict.pairs) == 3
    against = judged(three, baseline="b")
    assert {(pair.a, pair.b) for pair in against.verdict.pairs} == {("a", "b"), ("c", "b")}
    assert against.reference == "b"
    narrow, wide = judged(APART, confidence=0.6), judged(APART, confidence=0.99)
    assert narrow.rows[0].interval[0] > wide.rows[0].interval[0]
    assert judged({"a": [0.9, 0.91, 0.92], "b": [0.9, 0.9101, 0.92]}, margin=0.05).verdict.pairs[0].decision == (
        "equivalent"
    )


@pytest.mark.parametrize("until_decided", [False, True])
def test_a_baseline_that_has_not_begun_is_a_variant_without_a_seed(until_decided: bool) -> None:
    settings = VerdictSettings(baseline="c", until_decided=until_decided, max_seeds=6)
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    for begun in (trials, trials[:1], [trial("a", 0, None, "running")]):
        rounds = launch_rounds(begun, settings)
        comparison = compare(begun, 0.85, settings=settings, planned=9, rounds=rounds)
        assert comparison.sentence.startswith("Interim, not a result: ")
        assert comparison.verdict.baseline == "c"
        assert comparison.evidence == "none"
        assert [(row.trials, row.running, row.best) for row in comparison.rows if row.variant == "c"] == [(0, 0, False)]
        json.dumps(comparison.to_dict(), allow_nan=False)
        Console(file=io.StringIO()).print(comparison_table(comparison), cost_table(comparison))
        if until_decided:
            assert (rounds.seeds, rounds.ended) == ((), None), "without the baseline no round is whole"
            assert "Another round follows" in comparison.sentence
    assert compare([], 0.85, settings=settings).rows == ()


def test_another_baseline_that_is_asked_for_is_one_of_the_variants() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    results = Results("x", "1", "run", trials, Compared.of(compare(trials, 0.85)), judging=Judging(VerdictSettings()))
    assert results.compare(baseline="b").verdict.baseline == "b"
    with pytest.raises(RequestError, match="baseline: strid is not a variant"):
        results.compare(baseline="strid")


@pytest.mark.parametrize("until_decided", [False, True])
def test_the_planned_baseline_may_be_asked_for_by_any_of_its_names(until_decided: bool) -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    for planned in ("net.py:b", "b"):
        judging = Judging(VerdictSettings(baseline=planned, until_decided=until_decided))
        results = Results("x", "1", "run", trials, Compared.of(compare(trials, 0.85)), judging=judging)
        for asked in ("b", "net.py:b", "there/net.py:b"):
            assert results.compare(baseline=asked) is results.comparison


def test_survivors_are_named_as_such() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    assert "too optimistic" not in compare(trials, 0.85).sentence
    lost = [trial("a", 3, None, "stopped"), trial("b", 3, None, "failed")]
    assert "2 failed or were stopped early" in compare([*trials, *lost], 0.85).sentence


def test_variants_without_a_complete_trial_are_named_and_not_claimed() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    lost = [trial("c", i, None, "stopped") for i in range(3)]
    said = compare([*trials, *lost], 0.85).sentence
    assert "c has no complete seed." in said
    said = compare([*trials, *lost, *(trial(v, 0, None, "failed") for v in "defg")], 0.85).sentence
    assert "c, d, e, f and 1 more have no complete seed." in said


@pytest.mark.parametrize("status", ["failed", "stopped", "running"])
def test_one_complete_variant_is_not_best_where_the_others_are_missing(status: str) -> None:
    trials = [trial("a", 0, 0.90), trial("a", 1, 0.92), trial("b", 0, None, status)]
    said = compare(trials, 0.85).sentence
    assert "a has 91.00 ± 1.41 % test accuracy over n = 2" in said
    assert "no other variant has a complete seed (b)." in said
    assert said.startswith("Interim, not a result: 2 of 3 trials have ended. ") == (status == "running")


def test_the_lost_trials_of_a_variant_alone_are_counted() -> None:
    said = compare([trial("a", 0, 0.9), trial("a", 1, None, "failed"), trial("a", 2, None, "stopped")], 0.85).sentence
    assert "no other variant" in said
    assert "2 failed or were stopped early" in said


def test_what_is_still_running_is_counted_and_said() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    comparison = compare([*trials, trial("a", 3, None, "running"), trial("c", 0, None, "running")], 0.85)
    assert [(row.variant, row.running) for row in comparison.rows] == [("a", 1), ("b", 0), ("c", 1)]
    assert comparison.to_dict()["running"] == 2
    assert comparison.sentence.startswith("Interim, not a result: 6 of 8 trials have ended. a is better than b by ")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    text = console.export_text()
    assert re.search(r"a \*.* 3/4 ", text)
    assert re.search(r"c .* 0/1 ", text)
    assert compare([trial("a", 0, None, "running")], 0.85).sentence == (
        "Interim, not a result: 0 of 1 trial has ended. No seed is complete, so there is nothing to compare."
    )


def test_an_interrupted_launch_is_no_result_and_its_trials_did_not_fail() -> None:
    trials = [trial("a", 0, 0.9), trial("b", 0, None, "interrupted")]
    comparison = compare(trials, 0.85, planned=4)
    assert [(row.stopped, row.running, row.interrupted) for row in comparison.rows] == [(0, 0, 0), (0, 0, 1)]
    assert comparison.sentence.startswith(
        "Interim, not a result: 1 of 4 trials have ended. The same command resumes the launch. "
    )
    assert "too optimistic" not in comparison.sentence


def test_what_is_not_evaluated_yet_is_no_result_and_counts_as_complete() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    said = compare([*trials[:-1], replace(trials[-1], test_accuracy=None)], 0.85).sentence
    begins = "Interim, not a result: 1 complete trial awaits evaluation on the test split. The same command resumes"
    assert said.startswith(f"{begins} the launch. a and b are not told apart")
    assert "different numbers of evaluated seeds: 2 to 3." in said
    waiting = [trial("c", i, None) for i in range(2)]
    said = compare([*trials, *waiting, trial("d", 0, None, "running")], 0.85).sentence
    begins = "Interim, not a result: 8 of 9 trials have ended and 2 complete trials await evaluation on the test split."
    assert said.startswith(f"{begins} a is better")
    assert "no complete seed" not in said
    assert "c and d have no evaluated seed." in said
    assert compare(waiting, 0.85).sentence.endswith("The same command resumes the launch. No test accuracy yet.")
    searched = compare([replace(one, sample=0) for one in waiting], 0.85).sentence
    assert searched.endswith(
        "No test accuracy yet: a search evaluates on the test split when all of its trials have ended."
    )


def test_a_sample_that_is_still_running_may_yet_be_chosen() -> None:
    trials = [replace(trial("a", 0, 0.9), sample=0), replace(trial("a", 0, None, "running"), sample=1)]
    comparison = compare(trials, 0.85)
    assert (comparison.rows[0].running, comparison.running) == (0, 1)
    assert comparison.sentence.startswith("Interim, not a result: 1 of 2 trials have ended. ")


def test_unequal_numbers_of_seeds_are_said() -> None:
    trials = [trial(v, i, a) for v, mine in APART.items() for i, a in enumerate(mine)]
    assert "different numbers" not in compare(trials, 0.85).sentence
    assert "The variants have different numbers of complete seeds: 2 to 3." in compare(trials[:-1], 0.85).sentence


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


def test_a_search_that_goes_on_chooses_anew_by_validation_alone() -> None:
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
    assert {row.sample for row in chosen_trials(trials)["a"]} == {2}
    [row] = compare(trials, 0.85).rows
    assert (row.sample, row.trials, row.test_accuracy) == (2, 0, None), "what was evaluated before takes no part"
    assert "Of a other settings had been chosen, and evaluated, before" in sentences(compare(trials, 0.85).searches)


def test_what_was_stopped_early_has_a_table_of_its_own_and_is_no_trouble() -> None:
    early = [replace(trial("a", seed, None, "stopped"), epochs=seed, val_accuracy=seed / 8) for seed in (1, 3, 5)]
    assert trouble_table([trial("a", 0, 0.9), *early]) is None
    assert (
        stopped_table([trial("a", 0, 0.9), trial("b", 0, None, "failed"), trial("b", 1, None, "interrupted")]) is None
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(stopped_table([trial("a", 0, 0.9), *early, trial("b", 0, 0.9)]))
    row = console.export_text().splitlines()[-1]
    assert re.fullmatch(r"a +3 +4 +1 to 5 +62\.50 *", row)


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
    console.print(cost_table(compare(trials, 0.95)))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert re.search(r"dilated_separable +32 +0.01235", text)
    assert "dilated_separable *" in text
    assert re.search(r"stride +80\.10 +\d+\.\d\d to \d+\.\d\d +3 +10\.90 +\d+\.\d\d to \d+\.\d\d +worse", text)
    assert re.search(r"dilated_separable \* +91\.00 +88\.52 to 93\.48 +3", text)
    assert "…" not in text
    assert "depthwise_stride/seed-0" in text


@pytest.mark.parametrize("baseline", [None, "b"])
def test_the_table_says_each_decision_from_the_point_of_view_of_its_row(baseline: str | None) -> None:
    comparison = judged({**APART, "c": [0.93, 0.91, 0.90], "d": [0.2, 0.21, 0.22]}, baseline=baseline)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    lines = {line.split()[0]: line for line in console.export_text().splitlines() if line[:1] in "abcd"}
    words = {name: line.rstrip().rpartition(" ")[2] for name, line in lines.items()}
    if baseline is None:
        assert words == {"a": "undecided", "b": "worse", "c": words["c"], "d": "worse"}
        assert re.search(r" 40\.33 +\d\d\.\d\d to \d\d\.\d\d", lines["b"])  # behind the best
    else:
        assert words == {"a": "better", "b": "baseline", "c": "better", "d": "worse"}
        assert re.search(r" -30\.00 +-3\d\.\d\d to -[23]\d\.\d\d", lines["d"])  # above the baseline


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=9))
def test_whatever_the_accuracies_there_are_words_and_json(drawn: list[tuple[str, float]]) -> None:
    comparison = compare([trial(v, i, a) for i, (v, a) in enumerate(drawn)], 0.85)
    assert comparison.sentence.endswith(".")
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_trials_that_were_computed_otherwise_are_told_of() -> None:
    def said(*ways: str) -> str:
        rows = [trial("ab"[i % 2], i // 2, 0.5 + i / 100) for i in range(len(ways))]
        rows.append(replace(trial("a", 9, None, "failed"), computed_in="float64 on cpu"))  # not compared
        compared = [replace(row, computed_in=way) for row, way in zip(rows, ways, strict=False)]
        return compare([*compared, rows[-1]], 0.85).verdict.sentence

    words = "computed alike"
    assert words not in said("bfloat16 on cuda", "bfloat16 on cuda", "bfloat16 on cuda")
    assert words not in said("", "bfloat16 on cuda"), "an earlier version did not record it"
    assert "(2 in bfloat16 on cuda and 1 in float32 on cpu)" in said(
        "float32 on cpu", "bfloat16 on cuda", "bfloat16 on cuda"
    )
    moved = said("float32 on cpu, then float16 on cuda", "float32 on cpu, then float16 on cuda")
    assert "(2 in float32 on cpu, then float16 on cuda)" in moved


def test_trials_that_several_versions_of_torch_have_trained_are_told_of() -> None:
    def said(*versions: str) -> str:
        rows = [trial("ab"[i % 2], i // 2, 0.5 + i / 100) for i in range(len(versions))]
        compared = [replace(row, torch_version=version) for row, version in zip(rows, versions, strict=True)]
        failed = replace(trial("a", 9, None, "failed"), torch_version="0.1")  # not compared
        return compare([*compared, failed], 0.85).verdict.sentence

    words = "one version of torch"
    assert words not in said("2.13.0", "2.13.0", "2.13.0")
    assert words not in said("", "2.13.0"), "an earlier version did not record it"
    assert "(2 with 2.13.0 and 1 with 2.12.1)" in said("2.12.1", "2.13.0", "2.13.0")
    updated = said("2.12.1, then 2.13.0", "2.12.1, then 2.13.0")
    assert "(2 with 2.12.1, then 2.13.0)" in updated
    both = said("2.12.1", "2.13.0", "2.13.0")
    assert both.index(words) < both.index("failed")
