"""The sink against a real SQLite store: the tree, each record once, true statuses, a model that loads back."""

import sqlite3
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mlflow.pytorch
import pytest
import torch
from patience import PATIENCE

from orchestrator import records as keys
from orchestrator.cli.reports import write_model
from orchestrator.data import Dataset, apply, measure
from orchestrator.errors import RequestError, StorageError, TrackingError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Failure, Outcome, Record, Status
from orchestrator.reporting.verdict.comparison import compare
from orchestrator.spec import Plan, TrialSpec
from orchestrator.tracking.artifacts import log_comparison
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.models import save_model
from orchestrator.tracking.read import find_launch, read_right, read_trials
from orchestrator.tracking.runs import LEASE_LENGTH, PARENT, DatasetFacts, LaunchRuns, TrialFacts, flatten, open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import asked, connect, sqlite_file, tracking_uri, without_secrets
from orchestrator.trial import TrialFolder, run_trial

FACTS = DatasetFacts("tiny", "d" * 64, "{}", "{}")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def plan() -> Plan:
    return make_plan(read_experiment({"name": "exp", "variants": ["stride", "grouped_concat"], "seeds": [0, 1]}, "x"))


def open_runs(uri: str, plan: Plan, launch_id: str | None = None) -> LaunchRuns:
    facts = {spec.name: TrialFacts({keys.PARAMETERS: 192_298.0}, {"family": "f"}) for spec in plan.trials}
    return open_launch(connect(uri), uri, "abc", plan, FACTS, facts, {"git_commit": "c0ffee"}, None, launch_id)


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
    assert "report" not in run.data.tags  # it has not been made
    assert run.data.tags["spec_hash"] == plan.trials[0].identity()
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    history = client.get_metric_history(run.info.run_id, keys.TRAIN_LOSS)
    assert [(m.step, m.timestamp) for m in history] == [(1, 1_001_000), (2, 1_002_000), (3, 1_003_000)]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"spec.json"}  # figures come with the report
    [row] = read_trials(client, parent)
    assert (row.variant, row.seed, row.status, row.epochs) == ("stride", 0, "complete", 3)
    assert (row.test_accuracy, row.val_accuracy, row.seconds) == (0.75, pytest.approx(0.2), 6.0)


def test_trials_are_read_in_the_order_of_the_plan_whichever_began_first(uri: str, plan: Plan) -> None:
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for spec in reversed(plan.trials):
        sink.on_start(spec.name)
    sink.close(Status.STOPPED)
    client = connect(uri)
    read = read_trials(client, runs.parent_run_id)
    assert [row.trial for row in read] == [spec.name for spec in plan.trials]
    for row in read:  # as an earlier version left them
        client.delete_tag(row.run_id, "trial_number")
    assert {row.trial for row in read_trials(client, runs.parent_run_id)} == {spec.name for spec in plan.trials}


def test_which_pictures_were_right_comes_back_from_the_artifacts(
    uri: str, plan: Plan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = Sink(open_runs(uri, plan))
    for position, spec in enumerate(plan.trials):
        folder = TrialFolder.create(tmp_path / str(position), spec)
        logits = torch.eye(4)[torch.tensor([0, 1, 2, position])]
        labels = torch.tensor([0, 1, 2, 3 if position < 3 else 2])  # three of four are right, each time other ones
        folder.save_predictions(logits.roll(position, 0), labels.roll(position))
        sink.on_record(spec.name, record(1, final=True))
        sink.on_end(Outcome(spec.name, Status.COMPLETE, "", folder.path))
    sink.close(Status.COMPLETE)
    client = connect(uri)
    trials = read_trials(client, find_launch(client, "exp")[0])
    capfd.readouterr()
    right = read_right(client, trials)
    assert capfd.readouterr() == ("", "")  # no progress bars
    assert len(right) == len(plan.trials) == 4
    for position, trial in enumerate(trials):
        assert right[trial.run_id].tolist() == [place != (3 + position) % 4 for place in range(4)]
    compared = compare(trials, 0.85, right).differences
    assert [d.pictures for d in compared] == [4]
    assert read_right(client, [*trials[1:], replace(trials[0], test_accuracy=0.5)]) == {}  # not what was measured
    file = next(tmp_path.rglob("mlruns/**/predictions.csv"))
    file.write_text("label,predicted\n1,\n")
    assert read_right(client, trials) == {}
    file.unlink()
    assert read_right(client, trials) == {}
    assert [d.pictures for d in compare(trials, 0.85).differences] == [None]


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


def test_launches_of_one_plan_from_several_folders_share_no_run(uri: str, plan: Plan) -> None:
    earlier = open_runs(uri, plan)  # by a version that gave no ids
    first, second = open_runs(uri, plan, "a" * 32), open_runs(uri, plan, "b" * 32)
    assert len({runs.parent_run_id for runs in (earlier, first, second)}) == 3
    assert (earlier.launch, first.launch, second.launch) == ("abc", "abc-aaaaaaaa", "abc-bbbbbbbb")
    for accuracy, runs in ((0.25, first), (0.5, second)):
        sink = Sink(runs)
        sink.on_record("stride/seed-0", Record(1, 1000.0, {keys.TEST_ACCURACY: accuracy, keys.BEST_EPOCH: 1.0}, True))
        sink.on_end(Outcome("stride/seed-0", Status.COMPLETE))
        sink.close(Status.COMPLETE)
    client = connect(uri)
    for accuracy, runs in ((0.25, first), (0.5, second)):
        parent, _, _ = find_launch(client, "exp", runs.launch)
        assert [row.test_accuracy for row in read_trials(client, parent)] == [accuracy]
    for again, runs in ((None, earlier), ("a" * 32, first), ("b" * 32, second)):  # each is found again
        found = open_runs(uri, plan, again)
        assert (found.parent_run_id, found.launch) == (runs.parent_run_id, runs.launch)


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
    with pytest.raises(TrackingError, match=r"(?s)refused.*orchestrator resume"):
        sink.close(Status.COMPLETE)
    rows = {row.trial: row for row in read_trials(client, runs.parent_run_id)}
    assert (rows[other].status, rows[other].epochs) == ("complete", 2)
    assert (rows[first].status, client.get_run(run_id).info.status) == ("stopped", "KILLED")
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


class Hard(torch.nn.Module):
    """Does its work, and cannot be exported."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.linear = torch.nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x.flatten(1))
        if self.how == "branches" and y.sum() > 0:
            return y + 1
        if self.how == "lacks something" and torch.compiler.is_exporting():
            raise AttributeError("planted")
        if self.how == "does not work":
            raise KeyError("planted")
        return y


@pytest.mark.parametrize("how", ["branches", "lacks something", "does not work"])
def test_a_network_that_cannot_be_exported_leaves_no_half_of_a_model(how: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="cannot be exported"):
        save_model(Hard(how).eval(), torch.zeros(2, 3, 2, 2), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_driver_left_of_a_model_is_not_sent_and_made_again(
    uri: str, plan: Plan, tmp_path: Path, packed: Path, network_file: Path, dataset: Dataset
) -> None:
    folder = tmp_path / "folder"
    tiny = {"variant": f"{network_file}:Tiny", "dataset": {"name": str(packed)}, "trainer": {"epochs": 1}}
    assert list(run_trial(TrialSpec.from_json(tiny), dataset, folder))
    for name in ("model", ".model.partial"):
        (folder / name / "data").mkdir(parents=True)
        (folder / name / "input_example.json").write_text("{}")
    sink = Sink(open_runs(uri, plan))
    sink.on_end(Outcome(plan.trials[0].name, Status.COMPLETE, "", folder))
    sink.close(Status.COMPLETE)
    sent = {a.path for a in connect(uri).list_artifacts(sink.run_ids[plan.trials[0].name])}
    assert "spec.json" in sent
    assert not {"model", ".model.partial"} & sent
    write_model(folder, dataset, pytest.fail)
    assert not (folder / ".model.partial").exists()
    with torch.no_grad():
        assert mlflow.pytorch.load_model(str(folder / "model"))(torch.zeros(4, 3, 16, 16)).shape == (4, 3)


def test_the_model_of_normalised_pictures_fits_the_data(dataset: Dataset) -> None:
    pictures = apply(dataset.test.images[:2], measure(dataset.train.images))
    assert pictures.dtype == torch.float32


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
    assert (runs.made(name), runs.made(other)) == ({"report"}, {"report", "model"})
    note = runs.client.get_run(sink.run_ids[name]).data.tags["mlflow.note.content"]
    assert f"runs/{sink.run_ids[name]}/artifacts/report.html" in note
    assert {a.path for a in runs.client.list_artifacts(sink.run_ids[name])} == {"figures", "report.html"}
    assert runs.client.get_run(sink.run_ids[other]).data.tags["report"] == "cannot be made"


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
    for odd in ("it's", "a' or tags.kind != 'b", ""):
        with pytest.raises(RequestError, match="has no launch"):
            find_launch(client, "exp", odd)


def test_a_refusal_is_not_called_silence(uri: str) -> None:
    client = connect(uri)
    with pytest.raises(StorageError, match="refused: Invalid"), asked(uri):
        client.search_runs(["0"], "nonsense")


def test_params_are_the_flat_specification() -> None:
    flat = flatten({"a": {"b": 1, "c": [1, {"d": None}]}, "e": {}, "f": None})
    assert flat == {"a.b": "1", "a.c": '[1, {"d": null}]', "e": "{}", "f": "None"}


@pytest.mark.parametrize("description", ["Why.\n\n---\n\nHow.", "Long. " * 830, ""])
def test_the_note_of_a_launch_keeps_its_description_and_its_verdict(uri: str, description: str) -> None:
    plan = make_plan(read_experiment({"name": "exp", "variants": ["stride"], "description": description}, "x"))
    runs = open_runs(uri, plan)
    for sentence in ("The first verdict.", "The second verdict. " * 50, "The last verdict.", "v" * 9_000):
        log_comparison(runs.client, runs.parent_run_id, sentence, "<p>a page</p>")
        tags = runs.client.get_run(runs.parent_run_id).data.tags
        assert tags["verdict"] == sentence[:5_000]
        note = tags["mlflow.note.content"]
        assert len(note) <= 5_000
        assert note.endswith("behind the best.")
        assert note.count("Open the comparison") == 1
        assert sentence[:4_000] in note
        assert note.startswith(description[:3_500].strip() if len(sentence) < 5_000 else "")


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
