"""The sink against a real SQLite store: the tree, each record once, true statuses, a model that loads back."""

import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import mlflow.pytorch
import pytest
import torch

from orchestrator import records as keys
from orchestrator.data import Dataset, apply, measure
from orchestrator.errors import RequestError, StorageError, TrackingError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.spec import Plan
from orchestrator.tracking.artifacts import save_model
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.read import find_launch, read_trials
from orchestrator.tracking.runs import LEASE_LENGTH, PARENT, DatasetFacts, LaunchRuns, TrialFacts, flatten, open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect, sqlite_file, tracking_uri, without_secrets

FACTS = DatasetFacts("tiny", "d" * 64, "{}", "{}")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def plan() -> Plan:
    return make_plan(read_experiment({"name": "exp", "variants": ["stride", "grouped_concat"], "seeds": [0, 1]}, "x"))


def open_runs(uri: str, plan: Plan, launch: str = "abc") -> LaunchRuns:
    facts = {spec.name: TrialFacts({keys.PARAMETERS: 192_298.0}, {"family": "f"}) for spec in plan.trials}
    return open_launch(connect(uri), uri, launch, plan, FACTS, facts, {"git_commit": "c0ffee"})


def record(epoch: int, final: bool = False) -> Record:
    if final:
        return Record(
            epoch, 1000.0 + epoch, {keys.BEST_EPOCH: 2.0, keys.TEST_ACCURACY: 0.75, keys.TEST_LOSS: 1.0}, True
        )
    metrics = {keys.TRAIN_LOSS: 1.0 / epoch, keys.VAL_ACCURACY: 0.1 * epoch, keys.EPOCH_SECONDS: 2.0}
    return Record(epoch, 1000.0 + epoch, metrics)


def test_the_tree_is_what_people_are_promised(uri: str, plan: Plan, tmp_path: Path) -> None:
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    trial = plan.trials[0].name
    folder = tmp_path / "folder"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "curves.png").write_bytes(b"png")
    (folder / "spec.json").write_text("{}")
    sink.on_start(trial)
    for epoch in (1, 2, 3):
        sink.on_record(trial, record(epoch))
    sink.on_record(trial, record(3, final=True))
    sink.on_end(Outcome(trial, Status.COMPLETE, "", folder))
    sink.close(Status.COMPLETE)

    client = connect(uri)
    experiment = client.get_experiment_by_name("exp")
    assert Path(sqlite_file(uri)).parent / "mlruns" / "exp" == Path(
        experiment.artifact_location.removeprefix("file://")
    )
    parent, launch, target = find_launch(client, "exp")
    assert (launch, target) == ("abc", 0.85)
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).data.tags["rejected_samples"] == "0"
    [run] = client.search_runs([experiment.experiment_id], f"tags.`{PARENT}` = '{parent}'")
    assert run.info.run_name == "stride/seed-0"
    assert run.info.status == "FINISHED"
    assert run.data.params["trainer.optimizer.lr"] == "0.1"
    assert run.data.params["seed"] == "0"
    assert run.data.metrics[keys.PARAMETERS] == 192_298
    expected = {"variant": "stride", "family": "f", "seed": "0", "git_commit": "c0ffee", "status": "complete"}
    assert expected.items() <= run.data.tags.items()
    assert f"runs/{run.info.run_id}/artifacts/report.html" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["spec_hash"] == plan.trials[0].identity()
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    history = client.get_metric_history(run.info.run_id, keys.TRAIN_LOSS)
    assert [(m.step, m.timestamp) for m in history] == [(1, 1_001_000), (2, 1_002_000), (3, 1_003_000)]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"figures", "spec.json"}
    [row] = read_trials(client, parent)
    assert (row.variant, row.seed, row.status, row.epochs) == ("stride", 0, "complete", 3)
    assert (row.test_accuracy, row.val_accuracy, row.seconds) == (0.75, pytest.approx(0.2), 6.0)


def test_a_restarted_sink_makes_no_second_run_and_repeats_no_epoch(uri: str, plan: Plan) -> None:
    for epochs in ((1, 2), (1, 2, 3), (2, 3, 4)):
        sink = Sink(open_runs(uri, plan))
        for spec in plan.trials:
            sink.catch_up(spec.name, [record(epoch) for epoch in epochs])
        sink.close(Status.STOPPED)
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
    ("status", "expected"), [(Status.COMPLETE, "FINISHED"), (Status.STOPPED, "KILLED"), (Status.FAILED, "FAILED")]
)
def test_statuses_are_true(uri: str, plan: Plan, status: Status, expected: str) -> None:
    sink = Sink(open_runs(uri, plan))
    sink.on_end(Outcome("stride/seed-0", status, "because", None, "Traceback: planted"))
    sink.close(status)
    run = connect(uri).get_run(sink.run_ids["stride/seed-0"])
    assert run.info.status == expected
    assert run.data.tags["status_reason"] == "because"
    assert [a.path for a in connect(uri).list_artifacts(run.info.run_id)] == ["traceback.txt"]


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


def test_a_store_that_never_comes_back_is_told_and_does_not_hang(uri: str, plan: Plan) -> None:
    runs = open_runs(uri, plan)

    class Away:
        def __getattr__(self, name: str):
            raise ConnectionError("the server is away")

    sink = Sink(LaunchRuns(Away(), "1", "2", plan, FACTS, {}, {}), patience=1.0)
    sink.on_record(plan.trials[0].name, record(1))
    with pytest.raises(TrackingError, match=r"(?s)server is away.*orchestrator resume"):
        sink.close(Status.COMPLETE)
    assert runs.find(plan.trials[0].name) is None


def test_processes_that_open_a_fresh_store_at_once_do_not_crash_one_another(uri: str) -> None:
    import subprocess
    import sys

    code = f"from orchestrator.tracking.store import connect; connect({uri!r})"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(p.wait(), p.stderr.read()) for p in started] == [(0, b"")] * 3


@pytest.mark.parametrize("variant", ["grouped_concat", "depthwise_stride"])
def test_the_model_loads_back_and_gives_the_same_logits(variant: str, tmp_path: Path) -> None:
    from orchestrator.architectures import build_network

    network, pictures = build_network(variant).eval(), torch.randn(2, 3, 32, 32)
    save_model(network, pictures, tmp_path / "model")
    more = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = network(more)
        loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
        torch.testing.assert_close(loaded(more), expected)
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert served.metadata.signature.inputs.inputs[0].shape == (-1, 3, 32, 32)
    torch.testing.assert_close(torch.as_tensor(served.predict(more.numpy())), expected)
    assert not list((tmp_path / "model").rglob("*.pkl"))


def test_the_model_of_normalised_pictures_fits_the_data(dataset: Dataset) -> None:
    pictures = apply(dataset.test.images[:2], measure(dataset.train.images))
    assert pictures.dtype == torch.float32


def test_which_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri() == "http://127.0.0.1:1"
    assert tracking_uri("sqlite:///x.db") == "sqlite:///x.db"
    with pytest.raises(StorageError, match="cannot be used"):
        connect(f"sqlite:///{tmp_path}")
    with pytest.raises(StorageError, match="cannot be used"):
        connect(str(tmp_path / "a-file-store"))
    assert without_secrets("postgresql://user:secret@host/db") == "postgresql://user:***@host/db"


def test_what_is_not_there_is_told(uri: str, plan: Plan) -> None:
    client = connect(uri)
    with pytest.raises(RequestError, match="it has: none"):
        find_launch(client, "exp")
    open_runs(uri, plan)
    with pytest.raises(RequestError, match="'other'; it has: exp"):
        find_launch(client, "other")
    with pytest.raises(RequestError, match="no launch 'zzz'"):
        find_launch(client, "exp", "zzz")


def test_params_are_the_flat_specification() -> None:
    flat = flatten({"a": {"b": 1, "c": [1, {"d": None}]}, "e": {}, "f": None})
    assert flat == {"a.b": "1", "a.c": '[1, {"d": null}]', "e": "{}", "f": "None"}


def test_what_a_lost_driver_left_running_is_closed_by_the_next_who_looks(uri: str, plan: Plan) -> None:
    sink = Sink(open_runs(uri, plan))
    sink.catch_up("stride/seed-0", [record(1)])
    deadline = time.monotonic() + 60
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
