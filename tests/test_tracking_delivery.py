"""The sink: every record once, in order, whatever happens to the store or to the driver."""

import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from patience import PATIENCE
from recording import FACTS, open_runs, record

from orchestrator import records as keys
from orchestrator.cluster.events import outcome_of
from orchestrator.errors import TrackingError
from orchestrator.records import Failure, Outcome, Record, Status
from orchestrator.spec import Plan
from orchestrator.tracking.lease import LEASE_LENGTH, close_abandoned
from orchestrator.tracking.read import read_epochs
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect, sqlite_file
from orchestrator.tracking.tags import PARENT
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.trial import TrialFolder


def test_a_restarted_sink_makes_no_second_run_and_repeats_no_epoch(uri: str, plan: Plan) -> None:
    for epochs in ((1, 2), (1, 2, 3), (2, 3, 4)):
        sink = Sink(open_runs(uri, plan))
        for spec in plan.trials:
            sink.catch_up(spec.name, [record(epoch) for epoch in epochs])
        sink.close(Status.INTERRUPTED)
    client = connect(uri)
    experiment = client.get_experiment_by_name("exp").experiment_id
    children = [r for r in client.search_runs([experiment]) if PARENT in r.data.tags]
    assert len(children) == len(plan.trials)
    for run in children:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, keys.TRAIN_LOSS)]
        assert sorted(steps) == [1, 2, 3, 4]


def test_one_call_a_record_or_less(uri: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = open_runs(uri, plan)
    calls: Counter[str] = Counter()
    for name in ("log_metric", "log_batch"):
        original = getattr(runs.client, name)
        monkeypatch.setattr(
            runs.client, name, lambda *a, _n=name, _o=original, **k: (calls.update([_n]), _o(*a, **k))[1]
        )
    sink = Sink(runs)
    sink.on_start(plan.trials[0].name)
    for epoch in range(1, 51):
        sink.on_record(plan.trials[0].name, record(epoch))
    sink.close(Status.COMPLETE)
    assert calls["log_metric"] == 0
    assert calls["log_batch"] <= 50 + 3  # the run's params and tags, and at most one call a record
    assert len(connect(uri).get_metric_history(sink.run_ids[plan.trials[0].name], keys.TRAIN_LOSS)) == 50


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.COMPLETE, "FINISHED"), (Status.STOPPED, "FINISHED"),
        (Status.INTERRUPTED, "KILLED"), (Status.FAILED, "FAILED"),
    ],
)  # fmt: skip
def test_statuses_are_true(uri: str, plan: Plan, status: Status, expected: str) -> None:
    sink = Sink(open_runs(uri, plan))
    sink.on_end(Outcome("stride/seed-0", status, "because", None, "Traceback: planted"))
    sink.close(status)
    run = connect(uri).get_run(sink.run_ids["stride/seed-0"])
    assert run.info.status == expected
    assert run.data.tags["status"] == status
    assert run.data.tags["status_reason"] == "because"
    assert run.data.tags.get("stopped_early") == ("true" if status is Status.STOPPED else None)
    assert [a.path for a in connect(uri).list_artifacts(run.info.run_id)] == ["traceback.txt"]


@pytest.mark.parametrize("reason", ["interrupted", "its driver was lost; `orchestrator resume` continues"])
def test_what_an_earlier_version_called_stopped_and_was_interrupted_is_read_so(
    uri: str, plan: Plan, tmp_path: Path, reason: str
) -> None:
    sink = Sink(open_runs(uri, plan))
    first, second = (spec.name for spec in plan.trials[:2])
    sink.on_end(Outcome(first, Status.INTERRUPTED))
    sink.on_end(Outcome(second, Status.STOPPED, "stopped by the scheduler after epoch 1"))
    sink.close(Status.INTERRUPTED)
    client = connect(uri)
    for name, value in (("status", "stopped"), ("status_reason", reason)):
        client.set_tag(sink.run_ids[first], name, value)
    statuses = {row.trial: row.status for row in read_trials(client, sink.runs.parent_run_id)}
    assert statuses == {first: "interrupted", second: "stopped"}
    assert outcome_of({"trial": first, "status": "stopped", "reason": reason}).status is Status.INTERRUPTED
    folder = TrialFolder.create(tmp_path / "trial", plan.trials[0])
    folder.finish(Status.STOPPED, reason)
    outcome = folder.outcome()
    assert outcome is not None
    assert outcome.status is Status.INTERRUPTED


def test_carried_on_to_its_end_a_run_says_nothing_of_how_it_had_ended_before(uri: str, plan: Plan) -> None:
    lost, failed = (spec.name for spec in plan.trials[:2])
    sink = Sink(open_runs(uri, plan))
    sink.on_start(lost)
    sink.on_end(Outcome(failed, Status.FAILED, "its worker was lost", None, "Traceback: planted", Failure.DISK_FULL))
    sink.close(Status.FAILED)
    client, parent = connect(uri), sink.runs.parent_run_id
    client.update_run(parent, "RUNNING")  # as after a kill
    assert close_abandoned(client, "exp", time.time() + 2 * LEASE_LENGTH) == [parent]

    again = Sink(open_runs(uri, plan))
    for trial in (lost, failed):
        again.on_start(trial)
    deadline = time.monotonic() + PATIENCE
    while len(again.run_ids) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {(row.status, row.reason) for row in read_trials(client, parent)} == {("running", "")}
    assert not {"status", "status_reason"} & client.get_run(parent).data.tags.keys()
    for trial in (lost, failed):
        again.on_end(Outcome(trial, Status.COMPLETE))
    again.close(Status.COMPLETE)
    for row in read_trials(client, parent):
        run = client.get_run(row.run_id)
        assert (row.status, row.reason, run.info.status) == ("complete", "", "FINISHED")
        assert "failure_kind" not in run.data.tags
        assert client.list_artifacts(row.run_id) == []


def test_a_locked_store_delays_records_and_loses_none(uri: str, plan: Plan) -> None:
    sink = Sink(open_runs(uri, plan))
    trial = plan.trials[0].name
    sink.catch_up(trial, [record(1)])
    lock = sqlite3.connect(sqlite_file(uri), isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    for epoch in (2, 3, 4):
        sink.on_record(trial, record(epoch))
    release = threading.Timer(3.0, lambda: lock.execute("ROLLBACK"))
    release.start()
    sink.close(Status.COMPLETE)
    release.join()
    lock.close()
    history = connect(uri).get_metric_history(sink.run_ids[trial], keys.TRAIN_LOSS)
    assert [m.step for m in history] == [1, 2, 3, 4]


def test_what_is_refused_of_one_trial_costs_no_other_and_is_delivered_by_resuming(uri: str, plan: Plan) -> None:
    first, other, busy = (spec.name for spec in plan.trials[:3])
    gate = threading.Event()
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for trial in (first, other, busy):
        sink.on_start(trial)
    sink.then(busy, lambda: gate.wait(PATIENCE))
    sink.on_end(Outcome(busy, Status.COMPLETE))
    deadline = time.monotonic() + PATIENCE
    while busy not in sink.run_ids:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client, run_id = connect(uri), sink.run_ids[first]
    client.delete_run(run_id)  # in the middle of the launch, on MLflow's page
    for epoch in (1, 2):
        sink.on_record(first, record(epoch))
        sink.on_record(other, record(epoch))
    gate.set()
    while not sink._problems:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.restore_run(run_id)
    outcomes = [Outcome(first, Status.COMPLETE), Outcome(other, Status.COMPLETE)]
    for outcome in outcomes:
        sink.on_end(outcome)
    with pytest.raises(TrackingError, match=r"(?s)rejected.*orchestrator resume"):
        sink.close(Status.COMPLETE)
    rows = {row.trial: row for row in read_trials(client, runs.parent_run_id)}
    assert (rows[other].status, rows[other].epochs) == ("complete", 2)
    assert (rows[first].status, client.get_run(run_id).info.status) == ("complete", "FINISHED")
    assert "orchestrator resume" in rows[first].reason

    again = open_runs(uri, plan)
    assert [again.is_delivered(outcome) for outcome in outcomes] == [False, True]
    later = Sink(again)  # what resuming does with what is not delivered
    later.catch_up(first, [record(1), record(2)])
    later.on_end(outcomes[0])
    later.close(Status.COMPLETE)
    [row] = [row for row in read_trials(client, runs.parent_run_id) if row.trial == first]
    assert (row.run_id, row.status, row.epochs) == (run_id, "complete", 2)


def test_a_store_that_never_comes_back_is_told_and_does_not_hang(uri: str, plan: Plan) -> None:
    runs = open_runs(uri, plan)

    class Away:
        def __getattr__(self, name: str):
            raise ConnectionError("the server is away")

    sink = Sink(LaunchRuns(Away(), "1", "2", plan, FACTS, {}, {}))
    assert sink.patience == 120  # seconds: two more minutes, says the guide
    sink.patience = 1.0
    sink.on_record(plan.trials[0].name, record(1))
    with pytest.raises(TrackingError, match=r"(?s)server is away.*orchestrator resume"):
        sink.close(Status.COMPLETE)
    assert runs.find(plan.trials[0].name) is None


def test_a_report_is_linked_when_it_has_been_delivered(uri: str, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "curves.png").write_bytes(b"png")
    name, other = (spec.name for spec in plan.trials[:2])
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for trial in (name, other):
        sink.on_end(Outcome(trial, Status.COMPLETE))
    assert sink.flush()
    assert runs.made(name) == set()
    sink.on_report(other, tmp_path, report=True, model=True)  # neither could be made
    assert sink.flush()
    (tmp_path / "report.html").write_text("<p>")
    sink.on_report(name, tmp_path, report=True, model=False)
    sink.close(Status.COMPLETE)
    again = open_runs(uri, plan)
    assert (again.made(name), again.made(other)) == ({"report"}, {"report", "model"})
    note = runs.client.get_run(sink.run_ids[name]).data.tags["mlflow.note.content"]
    assert f"runs/{sink.run_ids[name]}/artifacts/report.html" in note
    assert {a.path for a in runs.client.list_artifacts(sink.run_ids[name])} == {"figures", "report.html"}
    assert runs.client.get_run(sink.run_ids[other]).data.tags["report"] == "cannot be made"


def test_what_a_lost_driver_left_running_is_closed_by_the_next_who_looks(uri: str, plan: Plan) -> None:
    sink = Sink(open_runs(uri, plan))
    sink.catch_up("stride/seed-0", [record(1)])
    deadline = time.monotonic() + PATIENCE
    client, experiment = connect(uri), sink.runs.experiment_id
    while len(client.search_runs([experiment])) < 2 or "stride/seed-0" not in sink.run_ids:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert close_abandoned(client, "exp") == []  # its lease is good
    later = time.time() + 2 * LEASE_LENGTH
    assert close_abandoned(client, "exp", later) == [sink.runs.parent_run_id]
    statuses = {run.info.status for run in client.search_runs([experiment])}
    assert statuses == {"KILLED"}
    assert "resume" in client.get_run(sink.run_ids["stride/seed-0"]).data.tags["status_reason"]
    sink.close(Status.COMPLETE)


def test_a_trial_that_was_trained_anew_has_its_new_results(uri: str, plan: Plan) -> None:
    """Whatever the clock said then: by the records' times the second training was before the first."""
    trial = plan.trials[0].name

    def train(loss: float, accuracy: float, began: float) -> None:
        sink = Sink(open_runs(uri, plan))
        sink.on_start(trial)
        for epoch in (1, 2):
            sink.on_record(trial, Record(epoch, began + epoch, {keys.TRAIN_LOSS: loss, keys.VAL_ACCURACY: accuracy}))
        test = {keys.BEST_EPOCH: 2.0, keys.TEST_ACCURACY: accuracy, keys.TEST_LOSS: loss}
        sink.on_record(trial, Record(2, began + 3, test, final=True))
        sink.on_end(Outcome(trial, Status.COMPLETE))
        sink.close(Status.INTERRUPTED)

    for loss, accuracy, began in ((1.0, 0.75, 2000.0), (2.0, 0.25, 1000.0), (2.0, 0.25, 1000.0)):
        train(loss, accuracy, began)
    client = connect(uri)
    [run] = [
        r for r in client.search_runs([client.get_experiment_by_name("exp").experiment_id]) if PARENT in r.data.tags
    ]
    shown = {name: run.data.metrics[name] for name in (keys.TRAIN_LOSS, keys.TEST_ACCURACY, keys.TEST_LOSS)}
    assert shown == {keys.TRAIN_LOSS: 2.0, keys.TEST_ACCURACY: 0.25, keys.TEST_LOSS: 2.0}
    assert {epoch: read[keys.TRAIN_LOSS] for epoch, read in read_epochs(client, run.info.run_id).items()} == {
        1: 2.0,
        2: 2.0,
    }
    for name in (keys.TEST_ACCURACY, keys.TEST_LOSS, keys.BEST_EPOCH):
        values = [metric.value for metric in client.get_metric_history(run.info.run_id, name)]
        assert len(values) == (1 if name == keys.BEST_EPOCH else 2), "the third delivery has nothing new"


def test_what_was_opened_and_never_started_ends_with_its_launch(uri: str, plan: Plan) -> None:
    for _ in range(2):
        sink = Sink(open_runs(uri, plan, "a" * 32))
        for spec in plan.trials:
            sink.catch_up(spec.name, [record(1)])
        sink.on_end(Outcome(plan.trials[0].name, Status.STOPPED))
        sink.close(Status.INTERRUPTED)
        client = connect(uri)
        assert {run.info.status for run in client.search_runs([sink.runs.experiment_id])} == {"KILLED", "FINISHED"}
        statuses = [row.status for row in read_trials(client, sink.runs.parent_run_id)]
        assert statuses == ["stopped", "interrupted", "interrupted", "interrupted"]


def test_what_an_ended_launch_left_running_is_closed_by_the_next_who_looks(uri: str, plan: Plan) -> None:
    runs = open_runs(uri, plan)
    left = runs.create(plan.trials[0].name).info.run_id
    runs.client.set_terminated(runs.parent_run_id, "KILLED")
    assert close_abandoned(runs.client, "exp") == []
    assert runs.client.get_run(left).info.status == "RUNNING", "its driver may be opening the launch again"
    assert close_abandoned(runs.client, "exp", time.time() + 2 * LEASE_LENGTH) == []
    run = runs.client.get_run(left)
    assert (run.info.status, run.data.tags["status"]) == ("KILLED", "interrupted")
