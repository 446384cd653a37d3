"""What is read of a launch is what was recorded: one run a trial, our own runs alone, and all that was spent."""

import json
import logging
import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from driving import EXPERIMENT, driver, wait_for
from mlflow import MlflowClient
from patience import PATIENCE
from recording import open_runs
from registering import record_launch

from orchestrator.errors import StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Status
from orchestrator.reporting.comparison.spending import LEFT_OUT, LEFT_OUT_SAID, Share, total
from orchestrator.spec import Plan
from orchestrator.tracking.content import launch_content
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.open_launch import put_share
from orchestrator.tracking.read import trial_runs
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import LEASE, PARENT, SHARE, TAKEN_OVER, VERDICT
from orchestrator.workflow.comparison_page import read_context
from orchestrator.workflow.launch_metrics import launch_metrics
from orchestrator.workflow.results import Results, read_launch, read_results

TWO = {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.70, 0.72, 0.71]}
SHARED = Share(2.0, 0.5, 0.001)


def plan_of(seeds: int, variants: tuple[str, ...] = tuple(TWO), name: str = "two") -> Plan:
    tree = {"name": name, "variants": [*variants], "seeds": [*range(seeds)]}
    return make_plan(read_experiment(tree, "x"), "d" * 64)


def run_of(result: Results, trial: str) -> str:
    return next(row.run_id for row in result.rows if row.trial == trial)


def repeat(client: MlflowClient, run_id: str, status: str | None, later: int = 1) -> str:
    """Another run of the trial with the run ``run_id``; ``status``: how it ended, None: it runs."""
    run = client.get_run(run_id)
    tags = {k: v for k, v in run.data.tags.items() if k != "status"} | ({"status": status} if status else {})
    again = client.create_run(run.info.experiment_id, run.info.start_time + later, tags).info.run_id
    for name, value in run.data.metrics.items():
        client.log_metric(again, name, value, step=1)
    for name, text in run.data.params.items():
        client.log_param(again, name, text)
    if status:
        client.set_terminated(again)
    return again


# --- one run a trial, and our own alone


@pytest.mark.parametrize(
    ("status", "later", "counts"), [("complete", 1, True), (None, 1, False), ("interrupted", 1, False)]
)
def test_a_trial_with_two_runs_counts_once(uri: str, status: str | None, later: int, counts: bool) -> None:
    """The run that was deleted, after whose loss the launch was delivered again, has been restored."""
    before = record_launch(uri, "two", TWO)
    client = before.store()
    again = repeat(client, run_of(before, "stride/seed-0"), status, later)
    after = read_results(client, "two")
    assert len(after) == len(before) == 6
    assert (again in {row.run_id for row in after.rows}) is counts
    assert after.complete
    for row, score in zip(after.comparison.rows, after.comparison.verdict.variants, strict=True):
        assert (row.trials, score.n, row.test_accuracy) == (3, 3, pytest.approx(score.mean))
    assert after.comparison.sentence == before.comparison.sentence
    assert total(after.spent) == total(before.spent)
    assert "stride/seed-0, a second run" in launch_content(client, "two"), "which a test of delivery must see"


def test_both_runs_of_a_trial_leave_the_plan_and_come_back_together(uri: str) -> None:
    before = record_launch(uri, "two", TWO)
    client = before.store()
    repeat(client, run_of(before, "stride/seed-2"), "complete")
    open_runs(uri, plan_of(2))
    assert (len(read_results(client, "two")), read_results(client, "two").left_out) == (
        4,
        ("grouped_concat/seed-2", "stride/seed-2"),
    )
    open_runs(uri, plan_of(3))
    assert (len(read_results(client, "two")), read_results(client, "two").left_out) == (6, ())


def test_a_run_of_another_tool_under_the_launch_is_no_trial(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = record_launch(uri, "two", TWO)
    client, parent = before.store(), before.parent_run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    with (
        mlflow.start_run(run_id=parent),
        mlflow.start_run(run_name="robustness", nested=True) as nested,
    ):
        mlflow.log_metric("corrupted_accuracy", 0.7)
    foreign = nested.info.run_id
    client.update_run(foreign, "RUNNING")
    runs = open_runs(uri, plan_of(3))
    client.set_tag(parent, LEASE, "0")
    assert close_abandoned(client, "two") == [parent]
    assert client.get_run(foreign).info.status == "RUNNING"
    assert not {"left_out", "status"} & client.get_run(foreign).data.tags.keys()
    assert client.get_run(foreign).data.tags[PARENT] == parent
    after = read_results(client, "two")
    assert (after.rows, after.left_out, after.complete) == (before.rows, (), True)
    assert trial_runs(client, "two", runs.launch, None).keys() == {row.trial for row in before.rows}
    mlflow.set_tracking_uri(None)


# --- what was spent


def spent(result: Results) -> tuple[float, float | None, float | None, float | None]:
    every = total(result.spent)
    return every.seconds, every.cpu_seconds, every.gpu_seconds, every.price


def end(runs: LaunchRuns) -> Results:
    """As the driver ends a launch: its metrics are in its own run."""
    result = read_launch(runs.client, runs.parent_run_id)
    for name, value in launch_metrics(result, SHARED, 1.0).items():
        runs.client.log_metric(runs.parent_run_id, name, value)
    return result


def train(runs: LaunchRuns, *trials: str) -> None:
    sink = Sink(runs)
    for trial in trials:
        sink.on_start(trial)
        sink.on_end(Outcome(trial, Status.FAILED))
    assert sink.flush()
    for run_id in sink.run_ids.values():
        runs.client.log_metric(run_id, "epochs", 1)
        runs.client.log_metric(run_id, "epoch_seconds_total", 10.0)


def test_a_trial_reserves_the_same_while_a_launch_grows_and_after_its_driver_was_lost(uri: str) -> None:
    first = plan_of(1)
    runs = open_runs(uri, first)
    put_share(runs, {"cpus": 2.0, "gpus": 0.5, "price_per_second": 0.001})
    train(runs, *(spec.name for spec in first.trials))
    assert spent(read_launch(runs.client, runs.parent_run_id)) == (20.0, 40.0, 10.0, pytest.approx(0.02)), "not ended"
    end(runs)
    grown = plan_of(3)
    runs = open_runs(uri, grown)
    train(runs, *(spec.name for spec in grown.trials if spec not in first.trials))
    assert read_launch(runs.client, runs.parent_run_id).share == SHARED
    assert spent(read_launch(runs.client, runs.parent_run_id)) == (60.0, 120.0, 30.0, pytest.approx(0.06))
    put_share(runs, {"cpus": 2.0, "gpus": 0.5, "price_per_second": None})
    assert spent(end(runs))[3] is None, "no price is given any more"


def test_a_launch_of_an_earlier_version_says_its_share_by_its_metrics(uri: str) -> None:
    plan = plan_of(2)
    runs = open_runs(uri, plan)
    train(runs, *(spec.name for spec in plan.trials))
    assert SHARE not in runs.client.get_run(runs.parent_run_id).data.tags
    assert read_launch(runs.client, runs.parent_run_id).share == Share()
    end(runs)
    share = read_launch(runs.client, runs.parent_run_id).share
    assert (share.cpus, share.gpus, share.price_per_second) == pytest.approx((2.0, 0.5, 0.001))


def test_what_was_left_out_of_the_plan_was_spent_all_the_same(uri: str) -> None:
    plan = plan_of(2)
    runs = open_runs(uri, plan)
    put_share(runs, {"cpus": 2.0, "gpus": 0.5, "price_per_second": 0.001})
    train(runs, *(spec.name for spec in plan.trials))
    before = end(runs)
    after = end(open_runs(uri, plan_of(1, ("stride",))))
    assert spent(after) == spent(before) == (40.0, 80.0, 20.0, pytest.approx(0.04))
    assert [(row.variant, row.trials) for row in after.spent] == [("stride", 1), (LEFT_OUT, 3)]
    metrics = runs.client.get_run(runs.parent_run_id).data.metrics
    assert (metrics["cpu_seconds"], metrics["trials/failed"]) == (80.0, 1.0)
    [page] = read_context(after).spending
    assert LEFT_OUT_SAID in page.caption
    assert [row[0] for row in page.table.rows] == ["stride", LEFT_OUT, "all variants"]
    assert LEFT_OUT_SAID not in read_context(before).spending[0].caption
    document = json.loads(json.dumps(after.to_dict()))
    assert document["spending"]["total"]["seconds"] == 40.0
    assert document["left_out"] == ["grouped_concat/seed-0", "grouped_concat/seed-1", "stride/seed-1"]


def test_a_variant_that_gets_another_name_has_cost_its_time_once(uri: str) -> None:
    runs = open_runs(uri, plan_of(1))
    train(runs, "stride/seed-0", "grouped_concat/seed-0")
    renamed: list[Any] = [{"name": "stride", "as": "plain"}, "grouped_concat"]
    runs = open_runs(uri, make_plan(read_experiment({"name": "two", "variants": renamed, "seeds": [0]}, "x"), "d" * 64))
    train(runs, "plain/seed-0")
    result = read_launch(runs.client, runs.parent_run_id)
    runs.client.set_tag(run_of(result, "plain/seed-0"), TAKEN_OVER, f"two/{runs.launch}")
    every = total(read_launch(runs.client, runs.parent_run_id).spent)
    assert (every.seconds, every.trials, every.reused) == (20.0, 2, 1)


# --- an experiment that gets another name


def test_a_launch_is_read_back_though_its_experiment_has_another_name_by_now(uri: str) -> None:
    before = record_launch(uri, "two", TWO)
    client = connect(uri)
    client.rename_experiment(client.get_experiment_by_name("two").experiment_id, "the second")
    after = read_launch(client, before.parent_run_id)
    assert (after.experiment, after.launch, after.rows) == ("the second", before.launch, before.rows)
    assert after.comparison.sentence == before.comparison.sentence
    assert read_results(client, "the second", after.launch).rows == before.rows
    assert "orchestrator compare 'the second'" in read_context(after).more_images


@pytest.mark.slow
@pytest.mark.ray
def test_an_experiment_that_is_renamed_while_it_trains_gets_its_verdict(
    tmp_path: Path, packed: Path, network_file: Path
) -> None:
    pace = tmp_path / "pace"
    pace.write_text("0.1")
    experiment = EXPERIMENT.format(networks=network_file, second="Slow", data=packed)
    (tmp_path / "small.yaml").write_text(experiment)
    with driver(tmp_path, "run", "small.yaml", "--tracking-uri", "sqlite:///runs.db") as process:
        wait_for(tmp_path, process, "Slow/seed-0: epoch 1/")
        client = connect(f"sqlite:///{tmp_path}/runs.db")
        deadline = time.monotonic() + PATIENCE
        while not (found := client.get_experiment_by_name("small")) or not client.search_runs(
            [found.experiment_id], "tags.kind = 'trial'"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client.rename_experiment(found.experiment_id, "large")
        pace.unlink()
        assert process.wait(PATIENCE) == 0, (tmp_path / "output.txt").read_text()
    output = (tmp_path / "output.txt").read_text()
    assert re.search(r"again: orchestrator compare large --launch \w+", output)
    after = read_results(client, "large")
    assert (len(after), after.complete) == (4, True)
    tags = client.get_run(after.parent_run_id).data.tags
    assert tags[VERDICT].startswith(after.comparison.sentence[:100])
    assert (after.share.cpus, tags["status"]) == (1.0, "complete")


def test_results_of_a_server_that_has_gone_say_so_at_once_and_leave_no_settings(uri: str) -> None:
    result = record_launch(uri, "two", TWO)
    result.epochs()
    with socket.socket() as place:  # nobody listens there
        place.bind(("127.0.0.1", 0))
        away = replace(result, client=MlflowClient(f"http://127.0.0.1:{place.getsockname()[1]}"))
        levels = logging.getLogger("mlflow").level
        for question in (away.epochs, away.replication):
            with pytest.raises(StorageError, match=r"the tracking store http://127\.0\.0\.1:\d+ did not answer"):
                question()
        assert logging.getLogger("mlflow").level == levels
