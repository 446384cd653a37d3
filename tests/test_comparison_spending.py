"""What a launch spent: sums over its trials, and a price that is a share of a GPU's or a core's."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from driving import orchestrator
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.spending import (
    Share,
    money,
    spending,
    spending_table,
    terminal_spending,
    to_dict,
    total,
)
from orchestrator.reporting.comparison.variants import compare
from orchestrator.text import duration
from orchestrator.tracking.store import connect
from orchestrator.workflow.comparison import Comparison
from orchestrator.workflow.launch_metrics import launch_metrics
from orchestrator.workflow.results import Results


def trial(variant: str, seed: int, status: str = "complete", epochs: int = 10) -> TrialRow:
    return TrialRow(
        f"{variant}/seed-{seed}", "run", variant, seed, status, epochs=epochs, seconds=3.0 * epochs, planned_epochs=10
    )


@st.composite
def launches(draw: st.DrawFn) -> list[TrialRow]:
    statuses = st.sampled_from(["complete", "stopped", "interrupted", "failed", "running"])
    return [
        trial(draw(st.sampled_from("abc")), seed, draw(statuses), draw(st.integers(0, 10)))
        for seed in range(draw(st.integers(1, 9)))
    ]


@given(launches(), st.data())
def test_every_second_is_in_one_variant_and_what_was_reused_is_not_spent(
    rows: list[TrialRow], data: st.DataObject
) -> None:
    rows = [replace(row, taken_over_from="other/launch") if data.draw(st.booleans()) else row for row in rows]
    spent = spending(rows, Share.of({"CPU": 4.0, "GPU": 0.25}, 2.0))
    assert [row.variant for row in spent] == list(dict.fromkeys(row.variant for row in rows))
    every = total(spent)
    own = [row for row in rows if not row.taken_over_from]
    assert every.trials + every.reused == len(rows)
    assert every.seconds == pytest.approx(sum(row.seconds for row in own))
    assert every.seconds + every.reused_seconds == pytest.approx(sum(row.seconds for row in rows))
    assert (every.cpu_seconds, every.gpu_seconds) == pytest.approx((4 * every.seconds, every.seconds / 4))
    assert every.price == pytest.approx(every.gpu_seconds * 2 / 3600)
    assert every.lost_seconds == pytest.approx(sum(row.seconds for row in own if row.status == "failed"))
    assert every.saved_seconds == pytest.approx(
        sum(3.0 * (10 - row.epochs) for row in own if row.epochs and row.status in ("complete", "stopped"))
    )
    json.dumps(to_dict(spent), allow_nan=False)


def test_a_price_is_that_of_a_share_of_a_gpu_or_of_cores() -> None:
    assert Share.of({"CPU": 2.0}, 0.36).price_per_second == pytest.approx(0.36 * 2 / 3600)
    assert Share.of({"CPU": 2.0, "GPU": 0.5}, 0.36).price_per_second == pytest.approx(0.36 / 2 / 3600)
    assert Share.of({"CPU": 2.0}).price_per_second is None
    assert Share.of({"CPU": 2.0}, 0.0).price_per_second == 0.0


@pytest.mark.parametrize("price", [None, 0.0, 1.5])
@pytest.mark.parametrize("resources", [{"CPU": 1.0}, {"CPU": 3.0, "GPU": 0.5}])
def test_what_the_launch_records_says_the_share_again(resources: dict[str, float], price: float | None) -> None:
    rows = [trial("a", 0), trial("a", 1, "failed", 2), trial("b", 0, "running", 0)]
    result = Results("x", "abc", "run", rows, Comparison.of(compare(rows, 0.85)))
    metrics = launch_metrics(result, Share.of(resources, price), 1.0)
    assert ("price" in metrics) is (price is not None)
    expected, read = Share.of(resources, price), Share.recorded(None, metrics, rows)
    assert (read.cpus, read.gpus) == pytest.approx((expected.cpus, expected.gpus))
    assert read.price_per_second == (None if price is None else pytest.approx(expected.price_per_second))
    assert Share.recorded(None, {}, rows) == Share.recorded(None, metrics, []) == Share()
    assert Share.recorded(asdict(expected), metrics, []) == expected
    if price is not None:
        assert metrics["price"] == pytest.approx(total(spending(rows, expected)).price)


def test_a_price_is_no_part_of_what_a_launch_is() -> None:
    tree = {"name": "x", "variants": ["stride"], "seeds": [0, 1]}
    plans = [make_plan(read_experiment({**tree, "resources": r}, "x")) for r in ({}, {"price_per_hour": 2.5})]
    assert plans[0].identity() == plans[1].identity()
    assert [spec.identity() for spec in plans[0].trials] == [spec.identity() for spec in plans[1].trials]
    assert plans[1].experiment.resources.price_per_hour == 2.5


def test_the_tables_show_what_is_known_and_fit_the_terminal() -> None:
    rows = [trial("dilated_separable", 0), trial("depthwise_stride", 0, epochs=2000)]
    plain = spending_table(spending(rows, Share()))
    assert plain.columns == ("variant", "trials", "seconds")
    assert plain.rows[-1] == ["all variants", 2, 6030.0]
    assert len(spending_table(spending(rows[:1], Share())).rows) == 1  # nothing to sum
    rows += [trial("depthwise_stride", 1, "stopped", 2), trial("depthwise_stride", 2, "failed", 3)]
    rows[0] = replace(rows[0], taken_over_from="other/launch")
    spent = spending(rows, Share.of({"CPU": 16.0, "GPU": 0.5}, 3.5))
    table = spending_table(spent)
    assert {"epochs saved", "seconds lost", "reused", "price", "GPU seconds"} <= set(table.columns)
    assert all(len(row) == len(table.columns) for row in table.rows)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_spending(spent))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    for words in ("100 min", "24 s", "9 s", "30 s", money(spent[1].price), "saved: by early stopping"):
        assert words in text


def test_amounts_and_durations_have_the_digits_that_matter() -> None:
    assert [money(x) for x in (0.0, 0.00421, 0.5, 3.14159, 1250)] == ["0.00", "0.0042", "0.5", "3.14", "1,250.00"]
    seconds = (0, 0.04, 4.23, 36.4, 119, 121, 800, 9000, 5e6)
    words = ["0 s", "0.04 s", "4.2 s", "36 s", "119 s", "2 min", "13 min", "2.5 h", "1,389 h"]
    assert [duration(x) for x in seconds] == words


def test_a_trial_that_reached_its_target_saved_the_rest_and_an_interrupted_one_nothing() -> None:
    rows = [trial("a", 0, epochs=4), trial("a", 1, "interrupted", 4), trial("a", 2, "failed", 0)]
    [spent] = spending([*rows, replace(rows[0], seed=3, planned_epochs=None)], Share())
    assert (spent.saved_epochs, spent.saved_seconds, spent.failed, spent.lost_seconds) == (6, 18.0, 1, 0.0)


@pytest.mark.slow
@pytest.mark.ray
def test_a_finished_launch_with_another_price_is_the_same_launch(
    network_file: Path, packed: Path, tmp_path: Path
) -> None:
    tree = {
        "name": "priced",
        "variants": [f"{network_file}:Tiny"],
        "dataset": {"name": str(packed)},
        "trainer": {"epochs": 1, "batch_size": 32},
        "tracking": {"models": "none", "reports": "none"},
    }
    (tmp_path / "x.yaml").write_text(json.dumps(tree))
    found = []
    for price in ("null", "36", "72"):
        run = orchestrator("run", "x.yaml", "--set", f"resources.price_per_hour={price}", "--json", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        result = json.loads(run.stdout)
        metrics = connect(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(result["parent_run_id"]).data.metrics
        found.append((result["parent_run_id"], result["trials"], metrics.get("price")))
    (parent, trials, none), (_, _, cheap), (_, _, dear) = found
    assert [entry[:2] for entry in found] == [(parent, trials)] * 3  # nothing is trained again
    assert none is None
    assert cheap == pytest.approx(36 / 3600 * trials[0]["seconds"])
    assert dear == pytest.approx(2 * cheap)
