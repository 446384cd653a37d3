"""Jobs without a cluster: addresses, tokens, names, events, what is shown of them and what is refused."""

import asyncio
import contextlib
import importlib.metadata
import io
import json
import re
import socket
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from driving import ORCHESTRATOR
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator import records as keys
from orchestrator.cluster.address import Connection, connect, jobs_address, token
from orchestrator.cluster.events import Event, EventWriter, outcome_of, record_of
from orchestrator.cluster.follow import LogTailer
from orchestrator.cluster.job import Job, attempts, describe, job_name, next_name
from orchestrator.cluster.jobs import Jobs
from orchestrator.cluster.locations import location_problems, refuse_temporary_locations
from orchestrator.cluster.submit import Submission, submit
from orchestrator.cluster.working_dir import WorkingDir
from orchestrator.errors import OrchestratorError, ResourceError, StorageError
from orchestrator.loopback import is_loopback
from orchestrator.records import Outcome, Record, Status
from orchestrator.workflow.watch import JobDisplay


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
    assert "in the environment" not in repr(Connection("http://x", {"Authorization": token()}))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token() == ""


def test_nothing_or_something_else_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ResourceError, match=f"nothing answers at http://127.0.0.1:{port}; .*ray attach"):
        connect(f"http://127.0.0.1:{port}")
    from http.server import SimpleHTTPRequestHandler

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ResourceError, match="not a Ray cluster"):
            connect(f"http://127.0.0.1:{server.server_port}")
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


class Listed(Jobs):
    """A cluster that lists these jobs and takes every other one."""

    def __init__(self, *listed: Job) -> None:
        super().__init__(Connection("http://127.0.0.1:8265"))
        self.listed = list(listed)

    def all(self) -> list[Job]:
        return list(self.listed)

    def find(self, job: str) -> Job | None:
        return next((listed for listed in self.listed if listed.id == job), None)

    def submit(self, job: str, entrypoint: str, metadata: Mapping[str, str], *rest: Any) -> bool:
        self.listed.append(Job(job, "pending", metadata=metadata))
        return True


@pytest.mark.parametrize("state", ["pending", "running"])
def test_two_jobs_never_train_one_launch(state: str, tmp_path: Path) -> None:
    def job(name: str, status: str, experiment: str) -> Job:
        return Job(name, status, 1 if status == "failed" else None, metadata={"experiment": experiment})

    def submission(digest: str) -> Submission:
        return Submission("widths", 3, ("widths.yaml",), WorkingDir(tmp_path), ".", "orchestrator submit x", digest)

    others = (job("deep-11111111", "running", "deep"), job("widths-22222222", "failed", "widths"))
    running = job("widths-aaaaaaaa", state, "widths")
    resumed = job("widths-bbbbbbbb", "failed", "widths")  # it would resume the launch that the other one trains
    for listed in [(*others, running), (*others, resumed, running)]:
        jobs = Listed(*listed)
        with pytest.raises(ResourceError, match=r"job widths-aaaaaaaa runs widths .*orchestrator stop widths-aaaaaaaa"):
            submit(jobs, submission("bbbbbbbb"), print)
        assert jobs.listed == list(listed)
        said: list[str] = []
        started, is_new = submit(jobs, submission("bbbbbbbb"), said.append, again=True)  # a launch of its own
        assert (is_new, started.metadata["experiment"]) == (True, "widths")
        assert "job widths-aaaaaaaa runs widths with other settings or files" in said
    joined = submit(Listed(*others, running), submission("aaaaaaaa"), print)
    assert joined == (running, False)
    assert submit(Listed(*others), submission("bbbbbbbb"), print)[1]


def test_a_server_that_asks_for_no_token_is_sent_none(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []

    class Open(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"version": "4", "ray_version": ray_version, "ray_commit": "x"}).encode())

        def do_PUT(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    ray_version = importlib.metadata.version("ray")
    secret = "planted-token-" + "5eed" * 12
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secret)
    with HTTPServer(("127.0.0.1", 0), Open) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        jobs = Jobs(connect(f"http://127.0.0.1:{server.server_port}"))
        with contextlib.suppress(OrchestratorError, RuntimeError, KeyError, TypeError):
            jobs.submit("small", "true", {}, Path(__file__).parent / "lab")
        with contextlib.suppress(OrchestratorError, RuntimeError):
            asyncio.run(anext(jobs.tail("small")))
        server.shutdown()
    assert any("packages" in path for path, _ in seen)  # Ray's own client was at work, too
    assert any(path.endswith("/tail") for path, _ in seen)
    assert {sent for _, sent in seen} <= {None, ""}


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
    assert "resume with: orchestrator submit a.yaml --address http://x" in describe(
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
    record = Record(3, 12.5, {keys.TRAIN_LOSS: 1e300, keys.VAL_ACCURACY: 0.5}, final=True)
    outcome = Outcome("a/seed-0", Status.FAILED, "two\nlines and \u2028 more", Path("/x"), "traceback")
    writer.begin(["a/seed-0"], 3)
    writer.on_start("a/seed-0")
    writer.on_record("a/seed-0", record)
    writer.on_end(outcome)
    writer.result({"experiment": "x"})
    plan, start, epoch, end, result = [Event.decode(line) for line in out.getvalue().split("\n")[:-1]]
    assert plan.content == {"trials": ["a/seed-0"], "epochs": 3, "ended": []}
    assert start.content == {"trial": "a/seed-0", "epoch": 1}
    assert record_of(epoch) == ("a/seed-0", record)
    assert outcome_of(end.content) == Outcome("a/seed-0", Status.FAILED, outcome.reason)
    assert result.content["document"] == {"experiment": "x"}


@given(st.text(st.sampled_from("ab\n")), st.lists(st.lists(st.integers(1, 7), max_size=8), max_size=6))
def test_a_log_sent_again_and_again_is_read_once(log: str, connections: list[list[int]]) -> None:
    reader, lines = LogTailer(), []
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
    "2 trials, 2 at a time; /mnt/storage",
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
    with JobDisplay(Console(file=out, width=40)) as screen:
        for line in LOG:
            screen.show(line)
    assert out.getvalue().splitlines() == [LOG[2], LOG[5], LOG[9], LOG[10]]


def test_trials_that_ended_in_an_earlier_attempt_are_not_waiting() -> None:
    told = io.StringIO()
    ended = [Outcome("a/seed-0", Status.COMPLETE), Outcome("a/seed-1", Status.FAILED, "planted")]
    EventWriter(told).begin(["a/seed-0", "a/seed-1", "a/seed-2"], 3, ended)
    with JobDisplay(Console(file=io.StringIO(), width=80, force_terminal=True)) as screen:
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
    with JobDisplay(Console(file=out, width=80, force_terminal=True)) as screen:
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
    assert location_problems(None, None, None) == []
    assert location_problems("/mnt/x", "/mnt/data", "sqlite:////mnt/mlflow.db") == []
    assert location_problems("s3://bucket/x?region=eu", "gs://data", "http://127.0.0.1:5000") == []
    assert len(location_problems("storage", "./data", "sqlite:///mlflow.db")) == 3
    for secret in (
        "postgresql://me:hush-hush@db/x",
        "postgresql://db/x?user=me&password=hush-hush",
        "wasbs://c@a/x?sig=hush-hush",
    ):
        [problem] = location_problems(None, None, secret)
        assert "set MLFLOW_TRACKING_URI where the head is started" in problem
        assert "hush-hush" not in problem
    for key in ("hush-hush", "hush/hush-hush", "hush#hush-hush", "hush?hush-hush", "hush[hush-hush"):
        [problem] = location_problems(f"s3://key:{key}@bucket/x", None, None)
        assert "--storage contains a key" in problem
        assert "hush-hush" not in problem
        [problem] = location_problems(None, None, f"postgresql://me:{key}@db/x")
        assert "--tracking-uri contains a password" in problem
        assert "hush-hush" not in problem
    assert location_problems("s3://bucket/x@2?region=eu", None, "http://127.0.0.1:5000") == []
    refuse_temporary_locations("/mnt/x", "postgresql://db/x")
    with pytest.raises(StorageError, match=r"(?s)ORCHESTRATOR_STORAGE.*MLFLOW_TRACKING_URI"):
        refuse_temporary_locations("storage", "sqlite:///mlflow.db")


def test_every_mistake_is_found_before_the_cluster_is_asked(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text('name: x\nvariants: ["lacking.py:Net", "no_such_package.of:Mine", stride]\n')
    arguments = ["submit", "x.yaml", "--storage", "here", "--tracking-uri", "http://me:hush-hush@server"]
    found = subprocess.run(
        [ORCHESTRATOR, *arguments, "--address", "http://127.0.0.1:1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: x.yaml: 4 problems")
    for words in ("variants.0: ", "variants.1: ", "--storage here", "--tracking-uri contains a password"):
        assert words in found.stderr
    assert "hush-hush" not in found.stderr
    assert found.stdout == ""
