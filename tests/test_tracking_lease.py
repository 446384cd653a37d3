"""A living driver whose launch a reader has closed opens it again; who may only read can read."""

import sqlite3
import time
from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from patience import PATIENCE
from recording import open_runs, record

from orchestrator.records import Outcome, Status
from orchestrator.spec import Plan
from orchestrator.tracking import lease
from orchestrator.tracking.lease import REASON_LOST, close_abandoned
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import LEASE, REASON, STATUS
from orchestrator.workflow.results import read_results


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def states(client: MlflowClient, sink: Sink) -> list[str]:
    """Of the launch and of the trials that the sink has opened."""
    return [client.get_run(run).info.status for run in (sink.runs.parent_run_id, *sink.run_ids.values())]


def test_a_driver_that_comes_back_opens_again_what_a_reader_has_closed(
    uri: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.2)
    waiting = plan.trials[3].name  # left by an earlier driver: this one has not come to it yet
    first = Sink(open_runs(uri, plan))
    first.on_start(waiting)
    first.close(Status.INTERRUPTED)
    client = connect(uri)
    [left] = first.run_ids.values()
    client.set_tag(left, REASON, REASON_LOST)
    client.set_terminated(left, "KILLED")

    sink = Sink(open_runs(uri, plan))
    running, ended, late = (trial.name for trial in plan.trials[:3])
    for trial in (running, ended, late):
        sink.on_start(trial)
    sink.on_end(Outcome(ended, Status.COMPLETE))
    assert sink.flush()
    assert states(client, sink) == ["RUNNING", "RUNNING", "FINISHED", "RUNNING"]
    assert close_abandoned(client, "exp", now=time.time() + 1e6) == [sink.runs.parent_run_id]
    sink.on_end(Outcome(late, Status.COMPLETE))  # while it is closed
    wait_until(lambda: states(client, sink) == ["RUNNING", "RUNNING", "FINISHED", "FINISHED"])
    for run_id in (sink.runs.parent_run_id, sink.run_ids[running]):
        wait_until(lambda run_id=run_id: not {STATUS, REASON} & client.get_run(run_id).data.tags.keys())
    assert client.get_run(left).info.status == "KILLED"
    sink.on_record(running, record(1))
    assert sink.flush()
    assert {row.trial: row.status for row in read_results(client, "exp").rows}[running] == "running"
    sink.close(Status.COMPLETE)
    assert client.get_run(sink.runs.parent_run_id).info.status == "FINISHED"
    assert client.get_run(sink.runs.parent_run_id).data.tags[STATUS] == "complete"


def test_who_may_not_write_to_the_store_reads_the_launch_as_it_is(uri: str, plan: Plan) -> None:
    sink = Sink(open_runs(uri, plan))
    sink.on_start(plan.trials[0].name)
    assert sink.flush()
    client = connect(uri)
    client.set_tag(sink.runs.parent_run_id, LEASE, "0")
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        for change in ("INSERT", "UPDATE"):
            database.execute(
                f"CREATE TRIGGER refuse_{change} BEFORE {change} ON tags BEGIN SELECT RAISE(ABORT, 'denied'); END"
            )
    result = read_results(client, "exp")
    assert [row.status for row in result.rows] == ["running"]
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        for change in ("INSERT", "UPDATE"):
            database.execute(f"DROP TRIGGER refuse_{change}")
    assert [row.status for row in read_results(client, "exp").rows] == ["interrupted"]
    sink.close(Status.INTERRUPTED)
