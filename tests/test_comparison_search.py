"""What was searched: one configuration is chosen by validation accuracy, and no other test accuracy takes part."""

import io
import json
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.search import search_table, searched, terminal_search
from orchestrator.reporting.comparison.search_words import sentences
from orchestrator.reporting.comparison.variants import Comparison, compare
from orchestrator.selection import chosen_trials, complete_trials

LR = "trainer.optimizer.lr"


def trial(
    variant: str,
    sample: int | None,
    seed: int = 0,
    val: float | None = 0.5,
    status: str = "complete",
    test: float | None = None,
    epochs: int = 4,
) -> TrialRow:
    name = f"{variant}/seed-{seed}/{sample}"
    settings = {} if sample is None else {LR: 0.1 * (sample + 1)}
    return TrialRow(
        name, name, variant, seed, status, "", epochs, 1000, val_accuracy=val, test_accuracy=test,
        seconds=2.0 * epochs, sample=sample, settings=settings, planned_epochs=4,
    )  # fmt: skip


accuracy = st.floats(0, 1)


@st.composite
def searches(draw: st.DrawFn) -> list[TrialRow]:
    """Two variants, some configurations and seeds; trials end in any way, and ASHA may have stopped some of them."""
    samples, seeds = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rows = []
    for variant in "ab":
        for sample in range(samples):
            for seed in range(seeds):
                status = draw(st.sampled_from(["complete", "complete", "stopped", "failed", "running", "interrupted"]))
                epochs = 4 if status == "complete" else draw(st.integers(0, 3))
                val = draw(accuracy) if epochs else None
                rows.append(trial(variant, sample, seed, val, status, epochs=epochs))
    return rows


def measured(rows: list[TrialRow], names: set[str], values: st.DataObject) -> list[TrialRow]:
    """The complete trials of ``rows`` called ``names``, each with a test accuracy drawn anew."""
    return [
        replace(row, test_accuracy=values.draw(accuracy)) if row.trial in names and row.status == "complete" else row
        for row in rows
    ]


def without_earlier(compared: Comparison) -> Comparison:
    """The same, but for that other configurations were evaluated, which is said."""
    return replace(compared, searches=tuple(replace(row, earlier=0) for row in compared.searches))


@given(searches(), st.data())
def test_test_accuracies_of_configurations_that_were_not_chosen_influence_nothing(
    rows: list[TrialRow], values: st.DataObject
) -> None:
    chosen = {row.trial for mine in chosen_trials(rows).values() for row in mine}
    others = {row.trial for row in rows} - chosen
    once = measured(rows, chosen, values)  # as a launch leaves them
    for extra in (others, {name for name in others if values.draw(st.booleans())}):  # as nobody should have done
        again = measured(once, extra, values)
        assert {row.trial for mine in chosen_trials(again).values() for row in mine} == chosen
        assert without_earlier(compare(again, 0.85)) == compare(once, 0.85)
        assert [replace(row, earlier=0) for row in searched(again)] == list(searched(once))
    assert searched(measured(once, chosen, values)) == searched(once) == searched(rows)  # nor do those that were


@given(searches())
def test_every_figure_is_of_validation_accuracies_of_configurations(rows: list[TrialRow]) -> None:
    seeds = {row.seed for row in rows}
    for found in searched(rows):
        mine = [row for row in rows if row.variant == found.variant]
        by_sample = {sample: [row for row in mine if row.sample == sample] for sample in {row.sample for row in mine}}
        means = {}
        for sample, trials in by_sample.items():
            ended = complete_trials(trials) or [row for row in trials if row.status == "stopped"]
            values = [row.val_accuracy for row in ended if row.val_accuracy is not None]
            if values:
                means[sample] = statistics.fmean(values)
        assert found.configurations == len(by_sample)
        assert found.complete + found.stopped + found.failed + found.unfinished == len(by_sample)
        assert found.complete == sum(len(complete_trials(trials)) == len(seeds) for trials in by_sample.values())
        assert (found.trials, found.epochs) == (len(mine), sum(row.epochs for row in mine))
        assert found.seconds == pytest.approx(2.0 * found.epochs)
        most = max(len(complete_trials(trials)) for trials in by_sample.values())
        if not most:
            assert (found.chosen, found.accuracy, found.settings) == (None, None, {})
        else:
            ready = {s: means[s] for s, trials in by_sample.items() if len(complete_trials(trials)) == most}
            assert found.accuracy == max(ready.values()) == means[found.chosen]
            assert found.settings == by_sample[found.chosen][0].settings
        means = {s: mean for s, mean in means.items() if len(complete_trials(by_sample[s])) == len(seeds)}
        if means:
            assert (found.best, found.lowest) == (max(means.values()), min(means.values()))
            assert found.median == statistics.median(means.values())
        if len(means) > 1:
            assert found.gain == pytest.approx(max(means.values()) - statistics.median(means.values()))
            assert found.spread == pytest.approx(statistics.stdev(means.values()))
        else:
            assert (found.gain, found.spread) == (None, None)
    json.dumps([row.to_dict() for row in searched(rows)], allow_nan=False)


def test_what_was_chosen_from_how_many_is_said_and_equal_budgets_as_well() -> None:
    rows = [trial(v, sample, seed, 0.5 + sample / 10) for v in "ab" for sample in range(3) for seed in (0, 1)]
    [first, second] = searched(rows)
    assert (first.chosen, first.settings) == (2, {LR: pytest.approx(0.3)})
    assert (first.best, first.median, first.lowest) == pytest.approx((0.7, 0.6, 0.5))
    assert first.gain == pytest.approx(0.1)
    assert sentences((first, second)) == (
        "Each variant takes part with one of its 3 configurations, chosen by its mean validation accuracy over seeds; "
        "test accuracies of the others take no part. Every variant was given 6 trials and 24 epochs."
    )


def test_unequal_budgets_are_said_in_one_sentence() -> None:
    rows = [trial("a", sample) for sample in range(3)]
    rows += [trial("b", 0), *(trial("b", sample, status="stopped", epochs=1) for sample in (1, 2))]
    assert "The variants were not given the same to spend: 3 trials and 6 to 12 epochs." in sentences(searched(rows))
    rows.append(trial("b", 3, status="running", epochs=0, val=None))
    assert "3 to 4 trials and 6 to 12 epochs." in sentences(searched(rows))
    assert [(row.complete, row.stopped, row.unfinished) for row in searched(rows)] == [(3, 0, 0), (1, 2, 1)]


def test_a_configuration_with_fewer_seeds_is_no_better_one() -> None:
    rows = [trial("a", 0, seed, 0.6) for seed in (0, 1)]
    rows += [trial("a", 1, 0, 0.9), trial("a", 1, 1, None, "failed", epochs=1)]
    [found] = searched(rows)
    assert (found.chosen, found.accuracy, found.best, found.failed) == (0, 0.6, 0.6, 1)


def test_an_interruption_is_no_early_stop() -> None:
    [found] = searched([trial("a", 0), trial("a", 1, status="interrupted", epochs=2)])
    assert (found.complete, found.stopped, found.unfinished) == (1, 0, 1)


def test_without_a_search_only_early_stops_are_worth_a_table() -> None:
    rows = [trial("a", None, seed) for seed in (0, 1)] + [trial("b", None, 0)]
    assert searched(rows) == ()
    assert sentences(()) == ""
    rows.append(trial("b", None, 1, status="stopped", epochs=1))
    assert sentences(searched(rows)) == "The variants were not given the same to spend: 2 trials and 5 to 8 epochs."
    rows[-1] = replace(rows[-1], status="interrupted")
    assert searched(rows) == ()


def test_the_tables_have_every_variant_and_fit_the_terminal() -> None:
    names = ("dilated_separable", "depthwise_stride")
    rows = [trial(name, sample, seed, 0.5 + sample / 10) for name in names for sample in range(8) for seed in (0, 1)]
    rows += [trial(names[0], sample, 0, 0.4, "stopped", epochs=1) for sample in (8, 9)]
    rows += [trial(names[1], 8, 0, None, "failed", epochs=2000)]
    found = searched(rows)
    table = search_table(found)
    assert [row[0] for row in table.rows] == list(names)
    assert table.rows[0][table.columns.index("chosen")] == "lr 0.8"
    assert {"stopped early", "failed"} <= set(table.columns)
    assert "unfinished" not in table.columns
    assert all(len(row) == len(table.columns) for row in table.rows)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_search(found))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "120.00" in text  # percent of the best
