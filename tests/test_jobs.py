"""Jobs on a cluster: one an experiment, followed through cut connections, drained, carried on, and never a secret."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator import records as keys
from orchestrator.cli.following import Screen, in_words
from orchestrator.cli.places import problems_of_places, refuse_passing_places
from orchestrator.cluster.address import Door, is_loopback, jobs_address, open_door, token
from orchestrator.cluster.events import Event, EventWriter, outcome_of, record_of
from orchestrator.cluster.follow import Unrepeated
from orchestrator.cluster.jobs import Job, attempts, job_name, next_name
from orchestrator.errors import ResourceError, StorageError
from orchestrator.records import Outcome, Record, Status
from orchestrator.trial import TrialFolder

ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))
EXPERIMENT = """
name: small
variants: ["nets/networks.py:Tiny"]
seeds: [0, 1]
dataset: {{name: "{data}"}}
trainer: {{epochs: {epochs}, batch_size: 16, optimizer: {{lr: 0.1}}}}
"""
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "MLFLOW_TRACKING_URI": "postgresql://someone:planted-database-password@db/mlflow",
    "ORCHESTRATOR_STORAGE": "/planted-storage-of-another-machine",
}


# What needs no cluster.


def test_which_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert jobs_address() == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # a cluster's, not its Jobs API's
    assert jobs_address() == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "https://head:1/")
    assert jobs_address() == "https://head:1"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:2")
    assert jobs_address() == "http://head:2"
    assert jobs_address("localhost:3") == "http://localhost:3"
    for wrong in ("ray://head:10001", "http://head:notaport", "http://", "http://head/path", "http://me:secret@head"):
        with pytest.raises(ResourceError, match="Jobs API") as refused:
            jobs_address(wrong)
        assert "secret" not in str(refused.value)


@given(st.ip_addresses())
def test_loopback_is_what_the_standard_says(ip: Any) -> None:
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    assert is_loopback(f"http://{host}:8265") == (
        ip.is_loopback or bool(getattr(ip, "ipv4_mapped", None) and ip.ipv4_mapped.is_loopback)
    )


def test_a_name_is_not_taken_for_loopback_by_its_looks() -> None:
    assert all(map(is_loopback, ("http://localhost:1", "http://127.9.9.9", "https://[::1]:2")))
    assert not any(map(is_loopback, ("http://localhost.example.com", "http://127.0.0.1.example.com", "http://0.0.0.0")))


def test_where_the_token_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("at home\n")
    assert token() == "at home"
    (tmp_path / "elsewhere").write_text("  elsewhere \n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert token() == "elsewhere"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "in the environment")
    assert token() == "in the environment"
    assert "in the environment" not in repr(Door("http://x", {"Authorization": token()}))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token() == ""


def test_nothing_or_something_else_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ResourceError, match=f"nothing answers at http://127.0.0.1:{port}: .*ray attach"):
        open_door(f"http://127.0.0.1:{port}")
    from http.server import HTTPServer, SimpleHTTPRequestHandler

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ResourceError, match="not a Ray cluster"):
            open_door(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


names = st.text(st.characters(categories=("L", "N"), include_characters="-_."), min_size=1, max_size=20)


@given(names, st.integers(1, 30))
def test_each_attempt_has_a_name_of_its_own(name: str, count: int) -> None:
    base = job_name(name, "0123456789abcdef")
    assert base.isascii()
    assert base.endswith("-01234567")
    others = [Job(f"{base}0", "failed"), Job(f"x{base}", "failed"), Job(f"{base}-2-2", "failed"), Job(f"{base}-x", "f")]
    jobs: list[Job] = []
    for _ in range(count):
        jobs.append(Job(next_name(base, others + jobs[::-1]), "failed"))
    assert len({job.id for job in jobs}) == count
    assert jobs[0].id == base
    assert attempts(base, others + jobs[::-1]) == jobs


def test_exit_codes_of_jobs() -> None:
    table = {
        ("complete", 0): 0,
        ("failed", 1): 1,
        ("failed", 2): 2,
        ("failed", 130): 130,
        ("failed", 127): 1,
        ("failed", -9): 1,
        ("failed", None): 1,
        ("stopped", None): 130,
    }
    assert {key: Job("x", *key).exit_code for key in table} == table
    assert "carry on with: orchestrator submit a.yaml --address http://x" in in_words(
        Job("x", "stopped", metadata={"command": "orchestrator submit a.yaml"}), " --address http://x"
    )


floats = st.floats(allow_nan=False)
plain = st.recursive(st.none() | st.booleans() | st.integers() | floats | st.text(), st.lists, max_leaves=5)


@given(st.text(), st.dictionaries(st.text().filter(lambda k: k != "event"), plain, max_size=4))
def test_an_event_is_one_line_and_comes_back(kind: str, content: dict[str, Any]) -> None:
    event = Event(kind, content)
    line = event.encode()
    assert len(line.splitlines()) == 1
    assert Event.decode(line) == event


@given(st.text())
def test_other_lines_are_no_events(line: str) -> None:
    assert Event.decode(line) is None
    with contextlib.suppress(ValueError, AttributeError):
        assert Event.decode("@orchestrator-event " + line) is None or "event" in json.loads(line)


def test_what_a_launch_tells_arrives() -> None:
    out = io.StringIO()
    writer = EventWriter(out)
    record = Record(3, 12.5, {keys.TRAIN_LOSS: float("inf"), keys.VAL_ACCURACY: 0.5}, final=True)
    outcome = Outcome("a/seed-0", Status.FAILED, "two\nlines and \u2028 more", Path("/x"), "traceback")
    writer.begin(["a/seed-0"], 3)
    writer.on_start("a/seed-0")
    writer.on_record("a/seed-0", record)
    writer.on_end(outcome)
    writer.result({"experiment": "x"})
    plan, start, epoch, end, result = [Event.decode(line) for line in out.getvalue().split("\n")[:-1]]
    assert plan.content == {"trials": ["a/seed-0"], "epochs": 3, "ended": []}
    assert start.content == {"trial": "a/seed-0"}
    assert record_of(epoch) == ("a/seed-0", record)
    assert outcome_of(end.content) == Outcome("a/seed-0", Status.FAILED, outcome.reason)
    assert result.content["document"] == {"experiment": "x"}


@given(st.text(st.sampled_from("ab\n")), st.lists(st.lists(st.integers(1, 7), max_size=8), max_size=6))
def test_a_log_sent_again_and_again_is_read_once(log: str, connections: list[list[int]]) -> None:
    reader, lines = Unrepeated(), []
    for sizes in [*connections, [7] * (len(log) // 7 + 1)]:  # the last one gets to the end
        reader.connect()
        position = 0
        for size in sizes:
            lines += reader.add(log[position : position + size])
            position += size
    lines += reader.end()
    assert lines == log.split("\n")[:-1] + ([last] if (last := log.split("\n")[-1]) else [])


METRICS = {keys.TRAIN_ACCURACY: 0.25, keys.VAL_ACCURACY: 0.5}
LOG = [
    "2026-01-01 00:00:00,000\tINFO job_manager.py:568 -- Runtime env is setting up.",
    "Running entrypoint for job x: orchestrator run x.yaml",
    "2 trials, 2 side by side; /mnt/storage",
    Event("plan", {"trials": ["a/seed-0", "a/seed-1"], "epochs": 3}).encode(),
    Event("start", {"trial": "a/seed-0"}).encode(),
    "12:00:00 a/seed-0: started",
    Event("record", {"trial": "a/seed-0", "record": Record(2, 1.0, METRICS).to_json()}).encode(),
    Event("end", {"trial": "a/seed-1", "status": "failed", "reason": "planted"}).encode(),
    Event("end", {"trial": "never heard of", "status": "odd"}).encode(),
    "12:00:01 a/seed-1: failed: planted",
    "[bold]not markup[/bold] :smile:",
]


def test_without_a_screen_lines_for_people_pass_and_events_do_not() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=40)) as screen:
        for line in LOG:
            screen.show(line)
    assert out.getvalue().splitlines() == [LOG[2], LOG[5], LOG[9], LOG[10]]


def test_trials_that_ended_in_an_earlier_attempt_are_not_waiting() -> None:
    told = io.StringIO()
    ended = [Outcome("a/seed-0", Status.COMPLETE), Outcome("a/seed-1", Status.FAILED, "planted")]
    EventWriter(told).begin(["a/seed-0", "a/seed-1", "a/seed-2"], 3, ended)
    with Screen(Console(file=io.StringIO(), width=80, force_terminal=True)) as screen:
        screen.show(told.getvalue().rstrip())
        with screen.console.capture() as capture:
            screen.console.print(screen._view)
    rows = [line.split() for line in re.sub(r"\x1b\[[0-9;]*m", "", capture.get()).splitlines()]
    for row in (
        ["a/seed-0", "3/3", "complete"],
        ["a/seed-1", "0/3", "failed:", "planted"],
        ["a/seed-2", "0/3", "waiting"],
    ):
        assert row in rows


def test_on_a_screen_events_become_the_live_table() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=80, force_terminal=True)) as screen:
        for line in LOG:
            screen.show(line)
        with screen.console.capture() as capture:
            screen.console.print(screen._view)
        screen.show(Event("result", {"document": {"experiment": "x"}}).encode())
        screen.show("Comparison")
    shown = capture.get()
    assert "2/3" in shown
    assert "25.00" in shown
    assert "failed: planted" in shown
    assert "12:00:00 a/seed-0: started" not in out.getvalue()
    assert "[bold]not markup[/bold] :smile:" in out.getvalue()
    assert out.getvalue().endswith("Comparison\n")
    assert screen.result == {"experiment": "x"}


def test_places_must_outlive_the_job_and_hold_no_secret() -> None:
    assert problems_of_places(None, None, None) == []
    assert problems_of_places("/mnt/x", "/mnt/data", "sqlite:////mnt/mlflow.db") == []
    assert problems_of_places("s3://bucket/x?region=eu", "gs://data", "http://127.0.0.1:5000") == []
    assert len(problems_of_places("storage", "./data", "sqlite:///mlflow.db")) == 3
    for secret in ("postgresql://me:hush-hush@db/x", "postgresql://db/x?user=me&password=hush-hush"):
        [problem] = problems_of_places(None, None, secret)
        assert "set MLFLOW_TRACKING_URI where the head is started" in problem
        assert "hush-hush" not in problem
    [problem] = problems_of_places("s3://key:hush-hush@bucket/x", None, None)
    assert "hush-hush" not in problem
    refuse_passing_places("/mnt/x", "postgresql://db/x")
    with pytest.raises(StorageError, match=r"(?s)ORCHESTRATOR_STORAGE.*MLFLOW_TRACKING_URI"):
        refuse_passing_places("storage", "sqlite:///mlflow.db")


def test_every_mistake_is_found_before_the_cluster_is_asked(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text('name: x\nvariants: ["lacking.py:Net", "no_such_package.of:Mine", stride]\n')
    arguments = ["submit", "x.yaml", "--storage", "here", "--tracking-uri", "http://me:hush-hush@server"]
    found = subprocess.run(
        [ORCHESTRATOR, *arguments, "--address", "http://127.0.0.1:1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: x.yaml: 4 problems")
    for words in ("variants.0: ", "variants.1: ", "--storage here", "--tracking-uri holds a password"):
        assert words in found.stderr
    assert "hush-hush" not in found.stderr
    assert found.stdout == ""


# A real head, with a token.


@dataclass
class Head:
    """A running Ray head on loopback, and the folder and the environment of somebody who uses it."""

    folder: Path
    port: int
    token: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder / "nobody"), "OMP_NUM_THREADS": "1", **more}

    def begin(self, *arguments: str, address: str | None = None, **more: str) -> subprocess.Popen[str]:
        """Start a command as a user of the cluster, with secrets in the environment."""
        environment = self.environment(RAY_AUTH_TOKEN=self.token, **SECRETS) | more
        return subprocess.Popen(
            [ORCHESTRATOR, *arguments, "--address", address or self.address],
            cwd=self.folder / "work",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, *arguments: str, code: int = 0, **more: str) -> tuple[str, str]:
        """Run a command; its stdout and stderr."""
        process = self.begin(*arguments, **more)
        out, err = process.communicate(timeout=400)
        assert process.returncode == code, f"{arguments}: {process.returncode}\n{out}\n{err}"
        return out, err

    def jobs(self) -> list[dict[str, Any]]:
        """What Ray itself says of every job, with all that it knows."""
        answer = requests.get(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"}, timeout=60
        )
        return [job for job in answer.json() if job["submission_id"]]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
PORTS += ("ray-client-server-port", "runtime-env-agent-port", "node-manager-port", "object-manager-port")


@contextlib.contextmanager
def ray_head(folder: Path, **environment: str) -> Iterator[int]:
    """A Ray head of its own on loopback; yields its dashboard's port. Ends by killing its own processes."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--num-cpus=2", f"--temp-dir={folder}"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    try:
        subprocess.run(command, env=variables | environment, check=True, capture_output=True, timeout=240)
        yield ports["dashboard-port"]
    finally:
        end_of_head(folder)


def end_of_head(folder: Path) -> None:
    family: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()):
                family += [process, *process.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=20)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="oj-", dir="/tmp"))  # Ray's sockets need a short path
    for name in ("work", "nobody", "ray"):
        (folder / name).mkdir()
    (folder / "token").write_text("planted-cluster-token-0123456789abcdef\n")
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "ORCHESTRATOR_STORAGE": str(folder / "storage"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    try:
        with ray_head(folder / "ray", **settings) as port:
            yield Head(folder, port, "planted-cluster-token-0123456789abcdef")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Proxy:
    """A TCP proxy that can be cut: then what was open is closed and nobody is let in. Only this machine may enter."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target, self.whole = target, True
        self.server = socket.create_server((host, 0))
        self.host, self.port = self.server.getsockname()
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, (peer, _) = self.server.accept()
                if not self.whole or peer != self.host:
                    here.close()
                    continue
                there = socket.create_connection(("127.0.0.1", self.target))
                self.open += [here, there]
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        self.whole = False
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.open.clear()

    def heal(self) -> None:
        self.whole = True

    def close(self) -> None:
        self.cut()
        self.server.close()


class Lines:
    """What a process has printed on one of its streams so far."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream: Any) -> None:
        self.lines.extend(iter(stream.readline, ""))  # extend takes them one by one

    def wait_for(self, words: str, process: subprocess.Popen[str], start: int = 0) -> int:
        deadline = time.monotonic() + 300
        while True:
            for number, line in enumerate(self.lines[start:], start):
                if words in line:
                    return number
            assert process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.1)


def write_experiment(head: Head, packed: Path, networks: Path, epochs: int) -> None:
    work = head.folder / "work"
    (work / "nets").mkdir(exist_ok=True)
    shutil.copy(packed, head.folder / "tiny.pt")
    (work / "nets" / "beside.py").write_text("SAID = 'hello'\n")
    (work / "nets" / "networks.py").write_text("import beside\nassert beside.SAID\n" + networks.read_text())
    (work / "small.yaml").write_text(EXPERIMENT.format(data=head.folder / "tiny.pt", epochs=epochs))


def assert_no_secret(head: Head) -> None:
    hidden = [*SECRETS.values(), "planted-", head.token]
    logs = [path.read_text(errors="replace") for path in head.folder.glob("ray/session_*/logs/job-driver-*.log")]
    assert logs
    for text in [json.dumps(head.jobs()), *logs]:
        assert not [secret for secret in hidden if secret in text]


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_one_job_followed_through_a_cut_stopped_and_carried_on(head: Head, packed: Path, network_file: Path) -> None:
    write_experiment(head, packed, network_file, epochs=300)
    submitted = json.loads(head.do("submit", "small.yaml", "--no-wait", "--json")[0])
    assert submitted.keys() == {"job", "status", "address"}
    job = submitted["job"]
    assert submitted["address"] == head.address
    joined, said = head.do("submit", "./small.yaml", "--no-wait", "--json")
    assert json.loads(joined)["job"] == job
    assert "joining it" in said

    proxy = Proxy(head.port)
    follower = head.begin("logs", job, "--follow", address=proxy.address)
    out, err = Lines(follower.stdout), Lines(follower.stderr)
    seen = out.wait_for("epoch 5/", follower)
    for _ in range(2):
        proxy.cut()
        lost = err.wait_for("lost", follower, len(err.lines))
        proxy.heal()
        err.wait_for("connected again", follower, lost)
        seen = out.wait_for("epoch ", follower, seen + 1)
    assert Counter("lost" in line for line in err.lines)[True] == 2  # each is told once
    _, said = head.do("stop", job)
    assert "the epochs in progress are finished first" in said
    assert "carry on with: orchestrator submit ./small.yaml" in said or "orchestrator submit small.yaml" in said
    assert follower.wait(timeout=120) == 130
    out.thread.join(30)
    proxy.close()
    whole = head.do("logs", job)[0].splitlines(keepends=True)
    assert [line for line in whole if "Runtime env" not in line and "Running entrypoint" not in line] == out.lines
    assert not [line for line in out.lines if line.startswith("@")]
    assert "ending: the epochs in progress are finished first" in "".join(whole)
    [guard] = head.folder.glob(f"ray/session_2*/logs/jobs/supervisor-{job}.log")  # Ray's own word: it was not killed
    assert "terminated gracefully" in guard.read_text()
    assert max(Counter(line[9:] for line in out.lines if ": epoch " in line).values()) == 1
    last = max(int(line.partition("epoch ")[2].partition("/")[0]) for line in out.lines if ": epoch " in line)
    assert last < 300, "it was over before it was stopped: the test has shown nothing"
    [state] = json.loads(head.do("status", "--json")[0])
    assert (state["job"], state["status"], state["exit_code"], state["trials"]) == (job, "stopped", 130, 2)

    document, said = head.do("submit", "small.yaml", "--json")
    assert f"{job}-2 carries it on" in said
    result = json.loads(document)
    assert [(t["trial"], t["status"], t["epochs"]) for t in result["trials"]] == [
        ("Tiny/seed-0", "complete", 300),
        ("Tiny/seed-1", "complete", 300),
    ]
    carried_on = head.do("logs", f"{job}-2")[0]
    assert f"Tiny/seed-0: epoch {last}/300" not in carried_on or f"Tiny/seed-1: epoch {last}/300" not in carried_on
    assert "Tiny/seed-0: epoch 1/300" not in carried_on
    [launch] = (head.folder / "storage" / "small").glob("*/launch.json")
    for seed in (0, 1):
        trial = TrialFolder(launch.parent / "trials" / "Tiny" / f"seed-{seed}")
        assert [r.epoch for r in trial.records() if not r.final] == list(range(1, 301))

    again, said = head.do("submit", "small.yaml", "--json")
    assert json.loads(again) == result
    assert "is complete" in said
    assert {state["job"] for state in json.loads(head.do("status", "--json")[0])} == {job, f"{job}-2"}
    table = head.do("status")[0]
    assert "stopped" in table
    assert "complete" in table
    assert head.do("stop", job)[1].startswith("it had ended before")
    assert_no_secret(head)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_two_at_once_are_one_job_and_exit_codes_come_home(head: Head, packed: Path, network_file: Path) -> None:
    write_experiment(head, packed, network_file, epochs=1)
    arguments = ["submit", "small.yaml", "--set", 'variants=["nets/networks.py:Failing"]', "--set", "seeds=[0]"]
    before = len(head.jobs())
    both = [head.begin(*arguments), head.begin(*arguments)]
    said = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [1, 1], "\n".join(map("".join, said))
    assert len(head.jobs()) == before + 1
    for out, _ in said:
        assert "RuntimeError: planted failure" in out
    lacking = ["submit", "small.yaml", "--set", "dataset.name=no-such-data"]
    out, _ = head.do(*lacking, code=2)
    assert "there is no data set 'no-such-data'" in out
    assert_no_secret(head)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_who_is_let_in_and_what_is_not_there(head: Head) -> None:
    _, said = head.do("status", code=2, RAY_AUTH_TOKEN="wrong-" * 8)
    assert "refuses the token (403)" in said
    assert "RAY_AUTH_TOKEN_PATH" in said
    _, said = head.do("status", code=2, RAY_AUTH_TOKEN="")
    assert "asks for the cluster's token and there is none" in said
    _, said = head.do("status", code=2, RAY_AUTH_TOKEN="", RAY_AUTH_MODE="token")
    assert "asks for the cluster's token and there is none" in said
    for command in ("status", "logs", "stop"):
        _, said = head.do(command, "no-such-job", code=2)
        assert "has no job 'no-such-job'; it has: " in said
        assert len(said.strip().splitlines()) == 1


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_an_open_or_unencrypted_cluster_elsewhere_is_refused(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of this machine that is not loopback stands for elsewhere; the proxies let in nobody but us."""
    own = [a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET]
    elsewhere = next((ip for ip in own if not ip.startswith("127.")), None)
    if elsewhere is None:
        pytest.skip("this machine has no address but loopback")
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="oj-", dir="/tmp"))
    warnings: list[str] = []
    try:
        with ray_head(folder, RAY_AUTH_MODE="disabled") as port:
            assert open_door(f"http://127.0.0.1:{port}").headers == {}
            proxy = Proxy(port, elsewhere)
            with pytest.raises(ResourceError, match=r"lets anybody in without a token.*--insecure"):
                open_door(proxy.address)
            assert open_door(proxy.address, insecure=True, warn=warnings.append).headers == {}  # no token is sent
            proxy.close()
        proxy = Proxy(head.port, elsewhere)
        with pytest.raises(ResourceError, match=r"not encrypted.*--insecure"):
            open_door(proxy.address)
        assert head.token in open_door(proxy.address, insecure=True, warn=warnings.append).headers["Authorization"]
        proxy.close()
        assert [("anybody" in w, "not encrypted" in w) for w in warnings] == [(True, False), (False, True)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
