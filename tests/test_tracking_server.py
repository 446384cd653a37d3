"""A real MLflow server that is killed in mid-launch and comes back, or never does; and leases that tell the truth."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import records as keys
from orchestrator.errors import StorageError, TrackingError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.spec import Plan
from orchestrator.tracking import lease
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.runs import LEASE, PARENT, DatasetFacts, LaunchRuns, open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect

pytestmark = pytest.mark.slow


class Server:
    """``mlflow server`` on loopback, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
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
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "server.txt").read_text()
                time.sleep(0.2)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def plan() -> Plan:
    return make_plan(read_experiment({"name": "exp", "variants": ["stride", "grouped_concat"]}, "x"))


def open_runs(uri: str, plan: Plan) -> LaunchRuns:
    return open_launch(connect(uri), uri, "abc", plan, DatasetFacts("tiny", "d" * 64, "{}", "{}"), {}, {})


def record(epoch: int) -> Record:
    return Record(epoch, 1000.0 + epoch, {keys.TRAIN_LOSS: 1.0 / epoch, keys.VAL_ACCURACY: 0.01 * epoch})


def steps(uri: str) -> dict[str, list[int]]:
    client = connect(uri)
    runs = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    return {
        run.data.tags["trial"]: sorted(m.step for m in client.get_metric_history(run.info.run_id, keys.TRAIN_LOSS))
        for run in runs
        if PARENT in run.data.tags
    }


def test_records_wait_while_the_server_is_away_and_arrive_once(server: Server, plan: Plan, tmp_path: Path) -> None:
    sink = Sink(open_runs(server.uri, plan))
    names = [spec.name for spec in plan.trials]
    for epoch in range(1, 41):
        if epoch == 10:
            server.kill()  # in the middle of what is being sent
        for name in names:
            sink.on_record(name, record(epoch))
        if epoch == 30:
            server.start()
    for name in names:
        sink.on_end(Outcome(name, Status.COMPLETE))
    sink.close(Status.COMPLETE)
    assert steps(server.uri) == {name: list(range(1, 41)) for name in names}
    client = connect(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert Counter(run.info.status for run in runs) == {"FINISHED": 3}


def test_a_server_that_never_comes_back_costs_nothing_but_the_wait(server: Server, plan: Plan) -> None:
    sink = Sink(open_runs(server.uri, plan), patience=2.0)
    name = plan.trials[0].name
    sink.on_record(name, record(1))
    server.kill()
    sink.on_record(name, record(2))
    sink.on_end(Outcome(name, Status.COMPLETE))
    started = time.monotonic()
    with pytest.raises(TrackingError, match="orchestrator resume"):
        sink.close(Status.COMPLETE)
    assert time.monotonic() - started < 120  # not for ever
    with pytest.raises(StorageError, match="cannot be used"):
        connect(server.uri)
    server.start()
    later = Sink(open_runs(server.uri, plan))  # what resuming does with the records on disk
    later.catch_up(name, [record(1), record(2)])
    later.on_end(Outcome(name, Status.COMPLETE))
    later.close(Status.COMPLETE)
    assert steps(server.uri)[name] == [1, 2]


def test_a_busy_driver_keeps_its_lease_and_a_dead_one_loses_it(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(lease, "RENEWAL", 0.2)
    runs = open_runs(uri, plan)
    assert float(runs.client.get_run(runs.parent_run_id).data.tags[LEASE]) > time.time() + 60  # from the first moment
    runs.client.set_tag(runs.parent_run_id, LEASE, "0")
    sink = Sink(runs, prepare=lambda _: time.sleep(2))
    sink.on_start(plan.trials[0].name)
    sink.on_end(Outcome(plan.trials[0].name, Status.COMPLETE))
    time.sleep(1)
    assert close_abandoned(connect(uri), "exp") == []
    sink.close(Status.COMPLETE)

    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import orchestrator.tracking.runs as runs\n"
        "runs.LEASE_LENGTH = 2.0; import orchestrator.tracking.lease as lease; lease.RENEWAL = 0.5\n"
        "from orchestrator.experiment.plan import make_plan\n"
        "from orchestrator.experiment.reader import read_experiment\n"
        "from orchestrator.tracking.sink import Sink; from orchestrator.tracking.store import connect\n"
        "plan = make_plan(read_experiment({'name': 'lost', 'variants': ['stride']}, 'x')); uri = sys.argv[2]\n"
        "opened = runs.open_launch(connect(uri), uri, 'l', plan, runs.DatasetFacts('t', 'd', '{}', '{}'), {}, {})\n"
        "Sink(opened).on_start('stride/seed-0'); time.sleep(2); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1]), uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
        assert driver.stdout.readline() == b"ready\n"
        assert close_abandoned(connect(uri), "lost") == []  # it lives, and renews
        driver.kill()
    time.sleep(3)
    [parent] = close_abandoned(connect(uri), "lost")
    client = connect(uri)
    runs_left = client.search_runs([client.get_run(parent).info.experiment_id])
    assert {run.info.status for run in runs_left} == {"KILLED"}
    assert all("its driver was lost" in run.data.tags["status_reason"] for run in runs_left)
