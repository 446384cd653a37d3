"""Launches kept in an object store: a real S3 server, a launch killed and resumed from the store alone."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import ORCHESTRATOR, driver, wait_for
from patience import PATIENCE
from ports import HeldPort, free_port
from pyarrow import fs
from recording import record

from orchestrator.data import Dataset
from orchestrator.errors import StorageError, TrackingError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Status
from orchestrator.scheduling.checkpoint_budget import CheckpointBudget
from orchestrator.scheduling.checkpoints import directory_name, find_checkpoints, save_checkpoint
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.launch_folder import LaunchFolder, open_launch_folder
from orchestrator.scheduling.storage import FOLDERS, Storage, check_uri, endpoint_problem, open_storage
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import DatasetFacts
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.tracking.writer import MLFLOW_STATUS
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.verify import compare, content, kill_driver

PROGRAMS = Path(sys.executable).parent
EXPERIMENT = """
name: small
variants: ["{networks}:Tiny"]
seeds: [0, 1]
dataset: {{name: "{data}"}}
trainer: {{epochs: 40, batch_size: 16, optimizer: {{lr: 0.1}}}}
scheduler: {{name: asha, grace_period: 10}}
"""


def start_server(port: int) -> "subprocess.Popen[bytes]":
    """An S3 server, which answers when this returns."""
    command = [str(PROGRAMS / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return server
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket on an S3 server of this machine, which the environment names."""
    port = free_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    server = start_server(port)
    try:
        import boto3

        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
    finally:
        server.kill()
        server.wait()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.mark.slow
def test_what_is_pushed_is_fetched_and_what_is_removed_is_gone(s3: str, tmp_path: Path) -> None:
    with open_storage(f"{s3}/pushed") as first:
        trial = first.root / "small" / "1a2b" / "trials" / "Tiny" / "seed-0"
        trial.mkdir(parents=True)
        for name in ("outcome.json", "records.jsonl", "old.pt"):
            (trial / name).write_text(name)
        first.push(trial)
        (trial / "old.pt").unlink()
        (trial / "records.jsonl").write_text("longer")
        first.push(trial)
        working_copy = first.root
    assert not working_copy.exists()  # the object store is the truth

    with open_storage(f"{s3}/pushed/") as second:
        second.fetch(second.root / "small", lambda name: name.endswith("outcome.json"))
        trial = second.root / "small" / "1a2b" / "trials" / "Tiny" / "seed-0"
        assert [path.name for path in trial.iterdir()] == ["outcome.json"]
        second.fetch(second.root / "small")
        assert {path.name: path.read_text() for path in trial.iterdir()} == {
            "outcome.json": "outcome.json",
            "records.jsonl": "longer",
        }
        second.remove(trial / "records.jsonl")
        assert second.names(second.root / "small") == ["1a2b/trials/Tiny/seed-0/outcome.json"]
        second.remove(second.root / "small")
        assert second.names(second.root) == []
        assert not (second.root / "small").exists()


def test_two_processes_that_write_into_one_folder_keep_what_both_have_made(s3: str) -> None:
    with open_storage(f"{s3}/reached") as storage:
        trial = storage.root / "small" / "trials" / "Tiny"
        trial.mkdir(parents=True)
        for name in ("outcome.json", "old.html", "records.jsonl"):
            (trial / name).write_text("before")
        storage.push(trial)
        with storage.reached(trial) as one, storage.reached(trial) as other:  # a report and a model, say
            (other / "model").mkdir()
            (other / "model" / "MLmodel").write_text("model")
            (other / "records.jsonl").write_text("longer")
            (one / "report.html").write_text("report")
            (one / "old.html").unlink()
        with storage.reached(trial) as left:
            found = {path.relative_to(left).as_posix(): path.read_text() for path in left.rglob("*") if path.is_file()}
        assert found == {
            "outcome.json": "before",
            "records.jsonl": "longer",
            "model/MLmodel": "model",
            "report.html": "report",
        }


@pytest.mark.slow
def test_a_resumed_launch_brings_no_weights_of_what_is_finished(
    s3: str, tmp_path: Path, network_file: Path, dataset: Dataset
) -> None:
    tree = {"name": "small", "variants": [f"{network_file}:Tiny"], "seeds": [0, 1], "trainer": {"epochs": 2}}
    plan = make_plan(read_experiment({**tree, "max_checkpoint_bytes": 1}, "x"))
    done, begun = plan.trials
    with open_storage(f"{s3}/resumed") as first:
        launch = open_launch_folder(first.root, plan)[0].path
        (launch / "rungs.jsonl").write_text("")
        list(run_trial(done, dataset, launch / "trials" / done.name))
        (launch / "trials" / done.name / "report.html").write_text("large")
        place = launch / "tune-1" / directory_name(begun.name)
        for _ in range(3):
            running = run_trial(begun, dataset, tmp_path / "working")
            next(running, None)
            running.close()
            save_checkpoint(tmp_path / "working", place, first)
        first.push(launch)
        bytes_kept = first.size(launch / "trials" / done.name / "checkpoints")
        name = launch.relative_to(first.root)

    with open_storage(f"{s3}/resumed") as second:
        launch = second.root / name
        LaunchFolder(launch).fetch(second)
        trial = launch / "trials" / done.name
        assert {path.relative_to(launch).as_posix() for path in launch.rglob("*") if path.is_file()} == {
            "launch.json",
            "rungs.jsonl",
            *(f"trials/{done.name}/{file}" for file in ("spec.json", "outcome.json", "records.jsonl")),
        }
        assert LaunchFolder(launch).finished(plan).keys() == {done.name}
        [found] = find_checkpoints(launch, plan, {done.name}, second).values()
        assert found == launch / "tune-1" / directory_name(begun.name) / "checkpoint_000002"
        assert [path.name for path in found.parent.iterdir()] == [found.name]  # and none but the newest
        assert not (trial / "checkpoints").exists()
        budget = CheckpointBudget(plan, 1, second)
        budget.add(TrialFolder(trial).outcome())
        [kept_there] = budget.delivered.values()
        assert kept_there.bytes == bytes_kept > 0  # counted where they are


def test_checkpoints_of_what_has_not_ended_stay_in_the_store_and_the_others_go(
    s3: str, tmp_path: Path, network_file: Path, dataset: Dataset
) -> None:
    tree = {"name": "small", "variants": [f"{network_file}:Tiny"], "trainer": {"epochs": 2}}
    both, today = (make_plan(read_experiment({**tree, "seeds": seeds}, "x")) for seeds in ([0, 1], [0]))
    done, begun = both.trials
    with open_storage(f"{s3}/tidied") as storage:
        launch = open_launch_folder(storage.root, both)[0].path
        for spec, attempts in ((begun, (1,)), (done, (1, 2))):
            running = run_trial(spec, dataset, tmp_path / spec.name)
            next(running)
            running.close()
            for number in attempts:
                save_checkpoint(tmp_path / spec.name, launch / f"tune-{number}" / directory_name(spec.name), storage)
        for number in (1, 2):
            (launch / f"tune-{number}" / "tuner.pkl").write_text("Ray's own")
            storage.push(launch / f"tune-{number}" / "tuner.pkl")
        list(run_trial(done, dataset, launch / "trials" / done.name))
        for left in ("tune-1", "tune-2"):
            shutil.rmtree(launch / left)  # as on a machine that resumes the launch
        run_launch(Launch(today, dataset, launch, {}, finished=frozenset({done.name}), storage=storage))
        assert storage.children(launch) == {"launch.json", "trials", "tune-1"}
        assert storage.children(launch / "tune-1") == {directory_name(begun.name), "tuner.pkl"}
        [found] = find_checkpoints(launch, both, {done.name}, storage)
        assert found == begun.name


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldPort]:
    """Where this process looks for an S3 server; none answers there before it is released."""
    held = HeldPort()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{held.number}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    yield held
    held.release()


def test_artifacts_wait_while_their_store_is_away(
    tmp_path: Path, port: HeldPort, caplog: pytest.LogCaptureFixture
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    plan = make_plan(read_experiment({"name": "exp", "variants": ["stride"]}, "x"))
    uri, trial = f"sqlite:///{tmp_path / 'mlflow.db'}", plan.trials[0].name
    data = DatasetFacts("tiny", "d" * 64, "{}", "{}")
    sink = Sink(open_launch(connect(uri), uri, "abc", plan, data, {}, {}, "s3://bucket/artifacts"))
    TrialFolder.create(tmp_path / "folder", plan.trials[0])
    sink.on_end(Outcome(trial, Status.COMPLETE, "", tmp_path / "folder"))
    deadline = time.monotonic() + PATIENCE
    while "records wait" not in caplog.text:
        assert not sink._problems
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # Two servers on one store: the bucket is there before the first of them answers at the address that is tried.
    elsewhere, server = (ThreadedMotoServer("127.0.0.1", at, verbose=False) for at in (0, port.number))
    elsewhere.start()
    _, other_port = elsewhere.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{other_port}").create_bucket(Bucket="bucket")
    port.release()
    server.start()
    try:
        sink.close(Status.COMPLETE)
        client = connect(uri)
        assert [a.path for a in client.list_artifacts(sink.run_ids[trial])] == ["spec.json"]
        assert client.get_run(sink.run_ids[trial]).info.status == "FINISHED"
    finally:
        server.stop()
        elsewhere.stop()


@pytest.mark.parametrize("how", ["there is no bucket", "it never comes back"])
def test_a_run_ends_as_its_trial_did_although_its_artifacts_cannot_be_stored(
    how: str, tmp_path: Path, port: HeldPort
) -> None:
    plan = make_plan(read_experiment({"name": "exp", "variants": ["stride"], "seeds": [0, 1, 2, 3]}, "x"))
    uri, client = f"sqlite:///{tmp_path / 'mlflow.db'}", connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    data = DatasetFacts("tiny", "d" * 64, "{}", "{}")
    server = None
    if how == "there is no bucket":
        port.release()
        server = start_server(port.number)
    try:
        runs = open_launch(client, uri, "abc", plan, data, {}, {}, "s3://absent/artifacts")
        sink = Sink(runs, patience=1.0)
        ends = dict(zip((spec.name for spec in plan.trials), Status, strict=True))
        outcomes = [Outcome(trial, status, "as it was", tmp_path / trial) for trial, status in ends.items()]
        for spec, outcome in zip(plan.trials, outcomes, strict=True):
            TrialFolder.create(tmp_path / spec.name, spec)
            sink.on_record(spec.name, record(1))
            sink.on_end(outcome)
        with pytest.raises(TrackingError, match=r"(?s)the artifact store (rejected|did not answer).*resume"):
            sink.close(Status.COMPLETE)
    finally:
        if server is not None:
            server.kill()
            server.wait()
    rows = {row.trial: row for row in read_trials(client, runs.parent_run_id)}
    assert {trial: row.status for trial, row in rows.items()} == {t: str(status) for t, status in ends.items()}
    for trial, status in ends.items():
        run = client.get_run(sink.run_ids[trial])
        assert run.info.status == MLFLOW_STATUS[status]
        assert run.data.metrics["train/loss"] == 1.0
        assert rows[trial].reason.startswith("as it was; ")
        assert "orchestrator resume" in rows[trial].reason
    assert client.get_run(runs.parent_run_id).info.status == "FINISHED"
    again = open_launch(client, uri, "abc", plan, data, {}, {}, "s3://absent/artifacts")
    assert not any(again.is_delivered(outcome) for outcome in outcomes)  # resuming delivers it


@pytest.mark.slow
@pytest.mark.ray
def test_killed_and_carried_on_from_an_object_store(s3: str, tmp_path: Path, network_file: Path, packed: Path) -> None:
    folders = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in folders:
        folder.mkdir()
        (folder / "small.yaml").write_text(EXPERIMENT.format(networks=network_file, data=packed))
    undisturbed, disturbed = folders
    command = [ORCHESTRATOR, "run", "small.yaml", "--set", "resources.max_concurrent_trials=1"]
    subprocess.run(command, cwd=undisturbed, check=True, capture_output=True, timeout=PATIENCE)

    command += ["--storage", f"{s3}/runs"]
    with driver(disturbed, *command[1:]) as process:
        wait_for(disturbed, process, "seed-1: epoch 5/")
        kill_driver(process)

    resume = [ORCHESTRATOR, "resume", "small", "--storage", f"{s3}/runs"]
    resumed = subprocess.run(resume, cwd=disturbed, capture_output=True, text=True, timeout=PATIENCE)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"trial folders: {s3}/runs/small/" in resumed.stdout
    assert "seed-0: started" not in resumed.stdout  # the finished trial was found in the store
    assert "seed-1: epoch 1/" not in resumed.stdout  # and the checkpoint of the other
    assert not (disturbed / "storage").exists()
    assert "planted-secret-key" not in resumed.stdout + resumed.stderr + (disturbed / "output.txt").read_text()

    fs.copy_files(f"{s3}/runs", str(disturbed / "storage"))
    assert not list(disturbed.glob("storage/small/*/tune-*"))
    assert list(disturbed.glob("storage/small/*/trials/Tiny/seed-0/report.html"))
    where = "artifact_uri", "artifact_location"
    ours, theirs = (
        {t: {k: v for k, v in found.items() if k not in where} for t, found in content(folder, "small").items()}
        for folder in folders
    )
    assert compare(ours, theirs) == []
    assert list(disturbed.glob("storage/.artifacts/small/*/artifacts/report.html"))  # of MLflow


def test_a_folder_is_its_own_address(tmp_path: Path) -> None:
    with open_storage(str(tmp_path)) as storage:
        assert storage == Storage(tmp_path)
        assert storage.address(tmp_path / "small") == str(tmp_path / "small")
        assert storage.names(tmp_path) == []
    (tmp_path / "file").touch()
    FOLDERS.remove(tmp_path / "file")
    FOLDERS.remove(tmp_path / "absent")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("uri", ["nowhere://bucket/path", "s3://", "ftp://host/path"])
def test_what_is_no_storage_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="give a folder, s3://bucket/path or gs://bucket/path"), open_storage(uri):
        pass


@pytest.mark.parametrize("user", ["me", "me:secret", "me:a/secret", "me:a#secret", "me:a?secret", "me:a@secret"])
def test_keys_in_the_uri_are_refused_and_not_repeated(user: str) -> None:
    with pytest.raises(StorageError, match="into the environment") as refused, open_storage(f"s3://{user}@bucket/x"):
        pass
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize("options", ["endpoint_override=10.0.0.1:9000&scheme=http", "region=eu&endpoint_override="])
def test_a_server_that_mlflow_would_not_find_is_refused(options: str) -> None:
    place = f"s3://bucket/x?{options}"
    assert endpoint_problem("s3://bucket/endpoint_override=1?region=eu&scheme=http") is None
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL=http://HOST:PORT"), open_storage(place):
        pass


def test_the_launch_and_its_artifacts_are_on_the_same_server(s3: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.s3_artifact_repo import _cached_get_s3_client

    _cached_get_s3_client.cache_clear()  # one of another test's server, which another process would not have
    with open_storage(f"{s3}/one?region=us-east-1") as storage:
        place = storage.root / ".artifacts" / "small" / "found.txt"
        place.parent.mkdir(parents=True)
        place.write_text("found")
        storage.push(place)
        artifacts = get_artifact_repository(storage.address(place.parent))
        assert [item.path for item in artifacts.list_artifacts()] == ["found.txt"]


def test_a_temporary_folder_behind_a_link_is_one_folder(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "link"))
    with open_storage(f"{s3}/linked") as storage:
        log = (storage.root / "small").resolve() / "rungs.jsonl"  # a scheduler's log, wherever the process stands then
        log.parent.mkdir()
        log.write_text("judged")
        storage.push(log)
        assert storage.names(storage.root / "small") == ["rungs.jsonl"]
        with storage.reached(storage.root / "small") as copy:
            assert copy == copy.resolve()
            assert (copy / "rungs.jsonl").read_text() == "judged"


def test_an_at_sign_in_the_path_is_no_user() -> None:
    check_uri("s3://bucket/widths@2/x?region=eu-west-1")


def test_options_stay_at_the_end_of_an_address() -> None:
    storage = Storage(Path("/copy"), "s3://bucket/runs?region=eu-west-1")
    assert storage.address(Path("/copy/small/1a2b")) == "s3://bucket/runs/small/1a2b?region=eu-west-1"
