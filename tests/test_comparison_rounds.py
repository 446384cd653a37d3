"""A launch in rounds: what is shown of a variant is over the seeds that its verdict is about, and nothing else."""

import io
import json
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from comparison_context import make_predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from registering import record_launch
from rich.console import Console

from orchestrator.cli.main import main
from orchestrator.errors import RequestError
from orchestrator.records import CONFIRM, SEARCH, TrialRow
from orchestrator.reporting.comparison.class_accuracy import class_means
from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.disagreement import share
from orchestrator.reporting.comparison.numbers import variants_table
from orchestrator.reporting.comparison.overview import draw_overview
from orchestrator.reporting.comparison.parts import interval_figure
from orchestrator.reporting.comparison.rounds import launch_rounds, rounds_table
from orchestrator.reporting.comparison.search import searched
from orchestrator.reporting.comparison.search_words import sentences
from orchestrator.reporting.comparison.tables import comparison_table, settings_table
from orchestrator.reporting.comparison.variants import compare, costs_of
from orchestrator.spec import VerdictSettings
from orchestrator.tracking.read import VERDICT_SETTINGS, Judging
from orchestrator.workflow.comparison import Comparison
from orchestrator.workflow.results import Results

IN_ROUNDS = VerdictSettings(until_decided=True, max_seeds=6)
LR = "trainer.optimizer.lr"


def trial(variant: str, seed: int, accuracy: float | None, status: str = "complete", stage: str = "") -> TrialRow:
    name = f"{variant}/seed-{seed}"
    return TrialRow(
        name, name, variant, seed, status, epochs=3, parameters=1000, seconds=2.0 + seed, val_accuracy=accuracy,
        test_accuracy=None if stage == SEARCH else accuracy, stage=stage,
    )  # fmt: skip


def table(accuracies: dict[str, list[float | None]]) -> list[TrialRow]:
    """Trials in the order of rounds; None: it failed."""
    longest = max(map(len, accuracies.values()))
    return [
        trial(variant, seed, mine[seed], "failed" if mine[seed] is None else "complete")
        for seed in range(longest)
        for variant, mine in accuracies.items()
        if seed < len(mine)
    ]


def compared(trials: list[TrialRow], asked: VerdictSettings = IN_ROUNDS) -> Comparison:
    rounds = launch_rounds(trials, asked)
    return Comparison.of(compare(trials, 0.8, settings=asked, rounds=rounds), trials=tuple(trials))


ACCURACY = st.tuples(st.integers(0, 2), st.integers(-3, 3)).map(lambda two: 0.9 - 0.2 * two[0] + 0.001 * two[1])
LENGTHS = st.lists(
    st.lists(st.one_of(ACCURACY, ACCURACY, ACCURACY, ACCURACY, st.none()), min_size=3, max_size=9),
    min_size=2,
    max_size=4,
)


@given(LENGTHS, st.sampled_from([None, 0.02]), st.sampled_from([None, "a"]), st.sampled_from([3, 5, 9]))
@settings(deadline=None, max_examples=40)
def test_every_figure_of_a_variant_is_over_the_seeds_of_its_verdict(
    drawn: list[list[float | None]], margin: float | None, baseline: str | None, most: int
) -> None:
    trials = table(dict(zip("abcd", drawn, strict=False)))
    asked = VerdictSettings(until_decided=True, max_seeds=most, margin=margin, baseline=baseline, confidence=0.9)
    found = compared(trials, asked)
    context = found.context()
    accuracies = {(t.variant, t.seed): t.test_accuracy for t in trials}
    for row, score in zip(found.rows, found.verdict.variants, strict=True):
        mine = [accuracies[row.variant, seed] for seed in score.seeds or ()]
        assert (row.variant, row.trials, score.n) == (score.variant, len(mine), len(mine))
        assert context.seeds(row.variant) == mine
        if mine:
            assert row.test_accuracy == pytest.approx(statistics.fmean(mine)) == pytest.approx(score.mean)
            assert (row.lowest, row.highest) == (min(mine), max(mine))
            assert row.seconds == pytest.approx(2.0 + statistics.fmean(score.seeds or ()))
        assert row.spread == (pytest.approx(statistics.stdev(mine)) if len(mine) > 1 else None)
        assert row.interval is None or row.interval[0] <= row.test_accuracy <= row.interval[1]
    for pair in found.verdict.pairs:
        both = [set(score.seeds or ()) for score in found.verdict.variants if score.variant in (pair.a, pair.b)]
        assert pair.n == len(both[0] & both[1])
        apart = [accuracies[pair.a, seed] - accuracies[pair.b, seed] for seed in both[0] & both[1]]
        assert pair.difference == pytest.approx(abs(statistics.fmean(apart)))
    assert found.to_dict()["best"] == next((score.variant for score in found.verdict.variants if score.n), None)


@given(LENGTHS, st.sampled_from([3, 5, 9]))
@settings(deadline=None, max_examples=40)
def test_what_is_beyond_the_rounds_changes_nothing_but_one_line(drawn: list[list[float | None]], most: int) -> None:
    trials = table(dict(zip("abcd", drawn, strict=False)))
    asked = replace(IN_ROUNDS, max_seeds=most)
    rounds = launch_rounds(trials, asked)
    assert rounds is not None
    part = {(one.seed, variant) for one in rounds.rounds for variant in one.variants}
    found = compared(trials, asked)
    within = [t for t in trials if (t.seed, t.variant) in part]
    alone = Comparison.of(compare(within, 0.8, settings=asked, rounds=rounds))
    assert (found.rows, found.verdict.pairs, found.verdict.front) == (
        alone.rows,
        alone.verdict.pairs,
        alone.verdict.front,
    )
    beyond = [t for t in trials if t not in within and t.test_accuracy is not None]
    numbers = [int(number) for number in re.findall(r"(\d+) trials? of [a-d, and]+ (?:is|are) ", found.sentence)]
    assert sum(numbers) == len(beyond)
    assert "no part" not in alone.sentence


CLOSE = {"good": [0.90, 0.91, 0.92, 0.905, 0.6, 0.6], "bad": [0.901, 0.908, 0.911, 0.9]}


def test_trials_beyond_the_rounds_are_named_and_pull_no_mean_down() -> None:
    asked = replace(IN_ROUNDS, max_seeds=4)
    found = compared(table(CLOSE), asked)
    assert "2 trials of good are beyond the rounds and take no part." in found.sentence
    good = found.rows[0]
    assert (good.variant, good.trials, good.best) == ("good", 4, True)
    assert good.test_accuracy == pytest.approx(0.90875)
    line = next(line for line in shown(found).splitlines() if line.startswith("good"))
    assert re.search(r"good \* +90\.88 +\d+\.\d+ to \d+\.\d+ 4 ", line)
    numbers = variants_table(found.context())
    named = dict(zip(numbers.columns, numbers.rows[0], strict=True))
    assert (named["n"], named["mean test accuracy"]) == (4, pytest.approx(0.90875))
    fewer = compared(table({**CLOSE, "good": CLOSE["good"][:5]}), asked)
    assert "1 trial of good is beyond the rounds and takes no part." in fewer.sentence


def test_a_round_whose_trials_are_not_all_evaluated_has_not_ended() -> None:
    trials = table({"a": [0.9, 0.91, 0.92], "b": [0.8, 0.82, 0.81]})
    waiting = [*trials[:-1], replace(trials[-1], test_accuracy=None)]
    rounds = launch_rounds(waiting, IN_ROUNDS)
    assert rounds is not None
    assert (rounds.seeds, rounds.ended) == ((0, 1), None)
    said = compared(waiting).sentence
    assert said.startswith("Interim, not a result: 1 complete trial awaits evaluation on the test split. ")


def test_trials_of_a_round_that_goes_on_take_no_part_yet() -> None:
    trials = [*table({"a": [0.9, 0.91, 0.92, 0.99], "b": [0.9, 0.92, 0.91]}), trial("b", 3, None, "running")]
    found = compared(trials)
    assert "1 trial of a is of rounds that have not ended and takes no part yet." in found.sentence
    assert [(row.variant, row.trials, row.running) for row in found.rows] == [("a", 3, 0), ("b", 3, 1)]


def test_predictions_classes_and_images_are_those_of_the_seeds_of_the_verdict() -> None:
    trials, labels = table(CLOSE), np.arange(40) % 4
    found = compared(trials, replace(IN_ROUNDS, max_seeds=4))
    context = replace(
        found.context(),
        predicted=make_predictions(trials, labels, np.random.default_rng(0)),
        labels=labels,
        classes=("a", "b", "c", "d"),
    )
    assert {variant: len(right) for variant, right in context.right.items()} == {"good": 4, "bad": 4}
    assert class_means(context)[1].mean() == pytest.approx(np.mean([r.mean() for r in context.right.values()]))
    assert share(context, "good", 0).endswith("/4")
    assert costs_of(found.rows)["seconds"]["good"] == 3.5


@pytest.mark.parametrize("in_rounds", [True, False])
def test_the_page_names_the_interval_that_it_draws(in_rounds: bool) -> None:
    trials = table({"a": [0.90, 0.91, 0.92], "b": [0.80, 0.81, 0.805]})
    found = compared(trials) if in_rounds else Comparison.of(compare(trials, 0.8), trials=tuple(trials))
    context: ComparisonContext = found.context()
    words = interval_figure(context).caption + draw_overview(context).axes[0].get_xlabel()
    assert ("interval that holds at every look" in words) is in_rounds
    assert ("95 % interval at every look" in words) is in_rounds
    assert ("Student" in words or "t interval" in words) is not in_rounds


@pytest.mark.parametrize("changed", [{"baseline": "bad"}, {"margin": 0.01}, {"confidence": 0.9}])
def test_a_launch_in_rounds_is_compared_by_its_own_settings_only(changed: dict[str, object]) -> None:
    trials = table(CLOSE)
    asked = replace(IN_ROUNDS, max_seeds=4)
    results = Results("widths", "1", "run", trials, compared(trials, asked), judging=Judging(asked))
    flags = {"baseline": None, "margin": None, "confidence": None, **changed}
    for ask in (results.compare, results.judged_by):
        with pytest.raises(RequestError) as caught:
            ask(**flags)  # type: ignore[operator]
        said = str(caught.value)
        assert said.startswith(f"{next(iter(changed))}: widths trains in rounds")
        assert "baseline none, margin none, confidence 0.95" in said
        assert "Compare it without" in said
    assert results.compare() is results.compare(confidence=0.95) is results.comparison


def test_the_command_refuses_other_settings_for_a_launch_in_rounds(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results = record_launch(uri, "widths", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.79, 0.82, 0.80]})
    settings = json.dumps({"until_decided": True, "max_seeds": 6})
    results.store().set_tag(results.parent_run_id, VERDICT_SETTINGS, settings)
    with pytest.raises(SystemExit) as left:
        main(["compare", "widths", "--tracking-uri", uri, "--margin", "0.01"])
    said = " ".join(capsys.readouterr().err.split())
    assert left.value.code == 2
    assert "margin: widths trains in rounds" in said
    assert "Traceback" not in said
    with pytest.raises(SystemExit) as left:
        main(["compare", "widths", "--tracking-uri", uri])
    assert left.value.code == 0
    assert "Looked at after every round" in " ".join(capsys.readouterr().out.split())


def staged(*confirmed: TrialRow, flaky: str = "failed") -> list[TrialRow]:
    """Three variants whose search has ended, each with two samples; ``flaky``: how those of the third ended."""
    rows = []
    for variant in ("good", "twin", "flaky"):
        for sample in (0, 1):
            status = flaky if variant == "flaky" else "complete"
            accuracy = None if status == "failed" else 0.5 + 0.1 * sample
            row = replace(trial(variant, 0, accuracy, status, SEARCH), trial=f"{variant}/seed-0/{sample}")
            rows.append(replace(row, sample=sample, settings={LR: sample / 10}))
    return [*rows, *(replace(t, sample=1, settings={LR: 0.1}) for t in confirmed)]


def test_variants_whose_fresh_trials_have_not_begun_are_no_failures_of_the_search() -> None:
    trials = staged(trial("good", 100, None, "running", CONFIRM))
    said = sentences(searched(trials))
    assert "Every trial of the search has failed of flaky: not confirmed." in said
    assert "No fresh trial of twin has begun yet." in said
    found = compared(trials)
    assert {row.variant: dict(row.settings) for row in found.rows} == {
        "good": {LR: 0.1},
        "twin": {LR: 0.1},
        "flaky": {},
    }
    assert [(row.chosen, row.search_failed) for row in found.searches] == [(1, False), (1, False), (None, True)]
    assert re.search(r"twin +0\.1\b", shown(found, settings_table))
    rounds = launch_rounds([*trials[:-1], trial("good", 100, 0.9, stage=CONFIRM)], IN_ROUNDS)
    assert rounds is not None
    assert rounds.rounds == ()  # twin's trial of the first round is still to come


@pytest.mark.parametrize("flaky", ["stopped", "running", "interrupted"])
def test_only_a_search_that_failed_leaves_a_variant_unconfirmed(flaky: str) -> None:
    trials = staged(trial("good", 100, 0.9, stage=CONFIRM), trial("twin", 100, 0.9, stage=CONFIRM), flaky=flaky)
    said = sentences(searched(trials))
    assert "has failed" not in said
    assert "No fresh trial of flaky has begun yet." in said


def test_a_variant_that_was_not_confirmed_is_in_no_round() -> None:
    fresh = [replace(t, stage=CONFIRM) for t in table({"good": [0.90, 0.91, 0.92], "twin": [0.91, 0.92, 0.90]})]
    found = compared(staged(*fresh))
    assert found.rounds is not None
    document = found.to_dict()["until_decided"]
    assert [one["variants"] for one in document["rounds"]] == [["good", "twin"]] * 3
    assert (document["not_confirmed"], document["next"]) == (["flaky"], ["good", "twin"])
    assert all(not one["dropped"] for one in document["rounds"])
    assert not any("flaky" in str(row) for row in rounds_table(found.rounds).rows)
    assert "Another round follows, of good and twin." in found.sentence
    assert sentences(found.searches).count("flaky") == 1
    without = compared([t for t in staged(*fresh) if t.variant != "flaky"])
    pair, narrower = found.verdict.pairs[0], without.verdict.pairs[0]
    assert pair.high is not None
    assert narrower.high is not None
    assert pair.high >= narrower.high  # it counts among the pairs, as it did when the rounds were decided


def shown(found: Comparison, table=comparison_table) -> str:  # type: ignore[no-untyped-def]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(found))
    return console.export_text()
