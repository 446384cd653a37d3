"""MLflow's store in a real PostgreSQL: recorded, compared, interrupted, resumed; its password stays hidden."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driving import ORCHESTRATOR, driver, page, wait_for
from patience import PATIENCE
from ports import free_port

from orchestrator import records as keys
from orchestrator.tracking.read import find_launch
from orchestrator.tracking.store import connect, tracking_uri
from orchestrator.tracking.trial_rows import read_trials

HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
PASSWORD = "Pl4nted-pg-6c1d"
EXPERIMENT = """
name: small
variants: ["{networks}:Tiny"]
seeds: [0, 1]
target_accuracy: 0.5
dataset: {{name: "{data}"}}
trainer: {{epochs: {epochs}, batch_size: 16, optimizer: {{lr: 0.1}}}}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(not HOMES, reason="PostgreSQL is not installed (/usr/lib/postgresql)"),
]


def as_postgres(*command: str) -> list[str]:
    """``command`` by a user that PostgreSQL accepts: it refuses root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


class Postgres:
    """A PostgreSQL server of its own on loopback, that asks for a password."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = HOMES[-1].parent, folder
        self.port = free_port()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, secret):
                shutil.chown(path, "postgres")
        made = [str(self.home / "initdb"), "-D", str(folder / "data"), "-U", "me", "-A", "scram-sha-256", "-E", "UTF8"]
        subprocess.run(as_postgres(*made, "--no-sync", f"--pwfile={secret}"), check=True, capture_output=True, cwd="/")
        secret.unlink()
        self.process: subprocess.Popen[bytes] | None = None
        self.uri = f"postgresql://me:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder), "-c", "fsync=off"]
        command = as_postgres(str(self.home / "postgres"), "-D", str(self.folder / "data"), *options)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop(self) -> None:
        """End it as a shutdown does, its clients' connections with it."""
        if self.process is None:
            return
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children()]
        server = next(p for p in family if p.name() == "postgres")
        server.send_signal(signal.SIGINT)
        self.process.wait(timeout=PATIENCE)
        self.process = None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, for its socket, and reachable by its user
    folder.chmod(0o755)
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, server: Postgres, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [ORCHESTRATOR, *arguments],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": server.uri, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert PASSWORD not in done.stdout + done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path, network_file: Path, packed: Path) -> Path:
    (tmp_path / "short.yaml").write_text(EXPERIMENT.format(networks=network_file, data=packed, epochs=3))
    text = EXPERIMENT.format(networks=network_file, data=packed, epochs=60)
    (tmp_path / "long.yaml").write_text(text.replace("name: small", "name: long"))
    return tmp_path


def test_a_launch_recorded_in_postgresql(folder: Path, postgres: Postgres) -> None:
    looked = run(folder, postgres, "doctor")
    assert "postgresql answers" in " ".join(looked.stdout.split())
    done = run(folder, postgres, "run", "short.yaml")
    assert done.returncode == 0, done.stderr
    compared = run(folder, postgres, "compare", "small")
    assert compared.returncode == 0, compared.stderr
    assert "Tiny *" in compared.stdout
    client = connect(tracking_uri(postgres.uri))
    rows = read_trials(client, find_launch(client, "small")[0])
    assert [(row.status, row.epochs) for row in rows] == [("complete", 3), ("complete", 3)]
    assert [artifact.path for artifact in client.list_artifacts(rows[0].run_id, "checkpoints")]
    again = run(folder, postgres, "run", "short.yaml", "--json")  # nothing is left to train, nothing is recorded twice
    assert again.returncode == 0, again.stderr
    assert {row.run_id for row in read_trials(client, find_launch(client, "small")[0])} == {row.run_id for row in rows}
    assert not [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_interrupted_and_carried_on(folder: Path, postgres: Postgres) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": postgres.uri}
    with driver(folder, "run", "long.yaml", environment=environment) as process:
        wait_for(folder, process, "epoch 5/")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
    _, _, resume = (folder / "output.txt").read_text().strip().rpartition("resume with: ")
    assert PASSWORD not in resume
    carried_on = run(folder, postgres, *shlex.split(resume)[1:])
    assert carried_on.returncode == 0, carried_on.stderr
    client = connect(tracking_uri(postgres.uri))
    rows = read_trials(client, find_launch(client, "long")[0])
    assert [(row.status, row.epochs) for row in rows] == [("complete", 60), ("complete", 60)]
    for row in rows:
        steps = Counter(metric.step for metric in client.get_metric_history(row.run_id, keys.TRAIN_LOSS))
        assert steps == dict.fromkeys(range(1, 61), 1)
    assert PASSWORD not in (folder / "output.txt").read_text()


def test_its_page_keeps_the_password_off_every_command_line(folder: Path, postgres: Postgres) -> None:
    with page(folder, {**os.environ, "MLFLOW_TRACKING_URI": postgres.uri}) as (url, process):
        search = f"{url}/api/2.0/mlflow/experiments/search?max_results=5"
        with urllib.request.urlopen(search, timeout=PATIENCE) as answer:
            assert b"experiments" in answer.read()
        family = [process, *process.children(recursive=True)]
        assert len(family) > 1
        assert not [member.cmdline() for member in family if any(PASSWORD in part for part in member.cmdline())]
    assert PASSWORD not in (folder / "ui.txt").read_text()


def test_a_wrong_password_and_a_server_that_is_gone(folder: Path, postgres: Postgres) -> None:
    wrong = postgres.uri.replace(PASSWORD, "Pl4nted-wrong")
    refused = run(folder, postgres, "compare", "small", "--tracking-uri", wrong, "--debug")
    assert refused.returncode == 2
    assert 'password authentication failed for user "me"' in refused.stderr
    assert "Pl4nted" not in refused.stderr
    postgres.stop()
    try:
        gone = run(folder, postgres, "compare", "small")
    finally:
        postgres.start()
    assert gone.returncode == 2
    assert "Connection refused" in gone.stderr
