"""A real MLflow server that is killed in mid-launch and comes back, or never does; and leases that tell the truth."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from patience import PATIENCE
from ports import free_port
from sqlalchemy import Connection, Engine, event

from orchestrator import records as keys
from orchestrator.errors import StorageError, TrackingError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.spec import Plan
from orchestrator.tracking import lease
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import DatasetFacts, LaunchRuns, TrialFacts
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import LEASE, NOTE, PARENT

pytestmark = pytest.mark.slow


class Server:
    """``mlflow server`` on loopback, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.txt").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.txt").read_text()
                assert time.monotonic() < deadline, (self.folder / "server.txt").read_text()
                time.sleep(0.2)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Proxy:
    """Passes requests on to a server; what is in ``plan`` happens to the next writing ones instead."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.plan: list[str] = []  # "lose": the server does it, the answer is lost; "503": it never hears of it
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            caller, _ = self.listener.accept()
            threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(("127.0.0.1", self.port)) as server:
            while request := read_message(caller):
                writes = any(call in request for call in (b"runs/create", b"log-batch", b"log-inputs", b"PUT /"))
                fate = self.plan.pop(0) if writes and self.plan else "pass"
                if fate == "503":
                    caller.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                    continue
                server.sendall(request)
                answer = read_message(server)
                if fate == "lose":  # a reset, not an orderly end
                    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                caller.sendall(answer)


def read_message(connection: socket.socket) -> bytes:
    """One HTTP message, or nothing when the other side has hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return b""
        data += part
    top, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return top + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.kill()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The one server of these tests, up when a test begins."""
    if shared_server.process is None:
        shared_server.start()
    return shared_server


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Plan:
    name = request.node.name[5:35].rstrip("_")  # an experiment a test
    return make_plan(read_experiment({"name": name, "variants": ["stride", "grouped_concat"]}, "x"))


def open_runs(uri: str, plan: Plan) -> LaunchRuns:
    facts = {spec.name: TrialFacts({keys.PARAMETERS: 7.0}) for spec in plan.trials}
    return open_launch(connect(uri), uri, "abc", plan, DatasetFacts("tiny", "d" * 64, "{}", "{}"), facts, {})


def record(epoch: int) -> Record:
    return Record(epoch, 1000.0 + epoch, {keys.TRAIN_LOSS: 1.0 / epoch, keys.VAL_ACCURACY: 0.01 * epoch})


def content(uri: str, plan: Plan) -> dict[str, list[int]]:
    """The epochs of every trial's run; each run is described in full, once."""
    client = connect(uri)
    found = client.search_runs([client.get_experiment_by_name(plan.experiment.name).experiment_id])
    trials = [run for run in found if PARENT in run.data.tags]
    assert max(Counter(run.data.tags["trial"] for run in trials).values()) == 1, "a trial has two runs"
    for run in trials:
        assert (run.data.params["seed"], len(run.inputs.dataset_inputs), NOTE in run.data.tags) == ("0", 1, True)
        assert len(client.get_metric_history(run.info.run_id, keys.PARAMETERS)) == 1
    return {
        run.data.tags["trial"]: sorted(m.step for m in client.get_metric_history(run.info.run_id, keys.TRAIN_LOSS))
        for run in trials
    }


def statuses(uri: str, plan: Plan) -> Counter[str]:
    client = connect(uri)
    found = client.search_runs([client.get_experiment_by_name(plan.experiment.name).experiment_id])
    return Counter(run.info.status for run in found)


def test_records_wait_while_the_server_is_away_and_arrive_once(server: Server, plan: Plan) -> None:
    sink = Sink(open_runs(server.uri, plan))
    names = [spec.name for spec in plan.trials]
    for epoch in range(1, 41):
        if epoch == 10:
            server.kill()  # in the middle of what is being sent
        started = time.monotonic()
        for name in names:
            sink.on_record(name, record(epoch))
        assert time.monotonic() - started < 10  # the training does not wait for the server: a minute and more
    for name in names:
        sink.on_end(Outcome(name, Status.COMPLETE))
    server.start()
    sink.close(Status.COMPLETE)
    assert content(server.uri, plan) == {name: list(range(1, 41)) for name in names}
    assert statuses(server.uri, plan) == {"FINISHED": 3}


def test_lost_answers_and_refusals_repeat_nothing(server: Server, plan: Plan, tmp_path: Path) -> None:
    proxy = Proxy(server.port)
    sink = Sink(open_runs(proxy.uri, plan))
    # Of the run's creation, its dataset, its params and note, the records, an artifact.
    proxy.plan = ["lose", "lose", "503", "pass", "lose", "pass", "503", "lose"]
    name = plan.trials[0].name
    (tmp_path / "spec.json").write_text("{}")
    sink.catch_up(name, [record(epoch) for epoch in (1, 2, 3)])
    sink.on_end(Outcome(name, Status.COMPLETE, "", tmp_path))
    sink.close(Status.COMPLETE)
    assert proxy.plan == []
    assert content(server.uri, plan) == {name: [1, 2, 3]}
    assert statuses(server.uri, plan) == {"FINISHED": 2}
    assert [a.path for a in connect(server.uri).list_artifacts(sink.run_ids[name])] == ["spec.json"]


def test_a_server_that_never_comes_back_costs_the_wait_only(server: Server, plan: Plan) -> None:
    sink = Sink(open_runs(server.uri, plan), patience=2.0)
    name = plan.trials[0].name
    sink.on_record(name, record(1))
    server.kill()
    sink.on_record(name, record(2))
    sink.on_end(Outcome(name, Status.COMPLETE))
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"(?s)did not answer.*orchestrator resume"):
        sink.close(Status.COMPLETE)
    with pytest.raises(StorageError, match="cannot be used"):
        connect(server.uri)
    assert time.monotonic() - started < 120  # not for ever
    server.start()
    later = Sink(open_runs(server.uri, plan))  # what resuming does with the records on disk
    later.catch_up(name, [record(1), record(2)])
    later.on_end(Outcome(name, Status.COMPLETE))
    later.close(Status.COMPLETE)
    assert content(server.uri, plan) == {name: [1, 2]}
    assert statuses(server.uri, plan) == {"FINISHED": 2}


def test_a_server_that_accepts_and_never_answers_is_given_up(plan: Plan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started = time.monotonic()
        with pytest.raises(StorageError, match="cannot be used"):
            connect(f"http://127.0.0.1:{mute.getsockname()[1]}")
    assert time.monotonic() - started < 120  # not for ever


def test_a_full_disk_delays_records_and_loses_none(plan: Plan, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    pages = 1 << 30

    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    sink = Sink(open_runs(uri, plan))
    name = plan.trials[0].name
    event.listen(Engine, "begin", limit)
    try:
        pages = 1  # SQLite says: database or disk is full
        for epoch in range(1, 301):
            sink.on_record(name, record(epoch))
        time.sleep(2)
        client = connect(uri)
        [found] = client.search_runs([sink.runs.experiment_id], f"tags.trial = '{name}'") or [None]
        assert found is None or len(client.get_metric_history(found.info.run_id, keys.TRAIN_LOSS)) < 300
        pages = 1 << 30
        sink.close(Status.COMPLETE)
    finally:
        event.remove(Engine, "begin", limit)
    assert content(uri, plan) == {name: list(range(1, 301))}


def lease_of(client: MlflowClient, launch: str) -> float:
    """When the launch's lease ends, in seconds since 1970."""
    return float(client.get_run(launch).data.tags[LEASE])


def wait_for_renewal(client: MlflowClient, launch: str) -> None:
    before, deadline = lease_of(client, launch), time.monotonic() + PATIENCE
    while lease_of(client, launch) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_busy_driver_keeps_its_lease(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(lease, "RENEWAL", 0.2)
    opened = open_runs(uri, plan)
    client, name, experiment = opened.client, plan.trials[0].name, plan.experiment.name
    busy, free = threading.Event(), threading.Event()

    def work() -> None:
        busy.set()
        free.wait(PATIENCE)

    sink = Sink(opened)
    sink.then(name, work)
    sink.on_end(Outcome(name, Status.COMPLETE))
    assert busy.wait(PATIENCE)
    wait_for_renewal(client, opened.parent_run_id)
    assert close_abandoned(client, experiment) == []
    free.set()
    sink.close(Status.COMPLETE)
    assert statuses(uri, plan) == {"FINISHED": 2}
    client.set_tag(opened.parent_run_id, LEASE, "0")
    open_runs(uri, plan)
    assert close_abandoned(client, experiment) == []  # opened again, and with a lease


DRIVER = """
import sys, time
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.tracking import lease, runs
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
lease.RENEWAL, uri = 0.2, sys.argv[1]
plan = make_plan(read_experiment({"name": "lost", "variants": ["stride"]}, "x"))
opened = open_launch(connect(uri), uri, "l", plan, runs.DatasetFacts("t", "d", "{}", "{}"), {}, {})
sink = Sink(opened)
sink.on_start("stride/seed-0")
while not sink.run_ids:
    time.sleep(0.1)
print(opened.parent_run_id, flush=True)
time.sleep(1e6)
"""


def test_what_a_killed_driver_left_is_closed_when_its_lease_expires(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    root = str(Path(__file__).parents[1])
    client = connect(uri)
    with subprocess.Popen([sys.executable, "-c", DRIVER, uri], cwd=root, stdout=subprocess.PIPE, text=True) as driver:
        launch = driver.stdout.readline().strip()
        wait_for_renewal(client, launch)
        assert close_abandoned(client, "lost") == []  # it lives
        driver.kill()
    end = lease_of(client, launch)
    assert close_abandoned(client, "lost", now=end - 1) == []  # nobody can know yet
    assert close_abandoned(client, "lost", now=end + 1) == [launch]
    left = client.search_runs([client.get_run(launch).info.experiment_id])
    assert [run.info.status for run in left] == ["KILLED"] * 2
    assert all("its driver was lost" in run.data.tags["status_reason"] for run in left)
