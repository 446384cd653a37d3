"""A head that takes connections and does not answer them, as behind a tunnel that swallows packets."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest

from orchestrator.cluster import follow as following
from orchestrator.cluster import jobs as asking
from orchestrator.cluster.address import Connection
from orchestrator.cluster.jobs import Jobs
from orchestrator.errors import ResourceError

pytestmark = pytest.mark.timeout(300)  # seconds: what is promised here is an end


class Silent(ThreadingHTTPServer):
    """Answers every question with ``answer``, a status and JSON; without one it lets them wait until ``close``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, object] | None = None
        self.closing = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Silent

    def do_GET(self) -> None:
        if self.server.answer is None:
            self.server.closing.wait()
            return
        status, content = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        pass


class Behind(Jobs):
    """The jobs of a head whose log comes through a connection that has gone dead, and that has no agent yet."""

    tails = submissions = 0

    async def tail(self, job: str) -> AsyncIterator[str]:
        self.tails += 1
        await asyncio.Event().wait()
        yield job

    def _client(self) -> Any:
        return self

    def submit_job(self, **_: object) -> NoReturn:
        self.submissions += 1
        raise RuntimeError("No available agent to submit job")


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    monkeypatch.setattr(following, "SILENCE", 0.2)
    monkeypatch.setattr(following, "FIRST_WAIT", 0.01)
    server = Silent()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def jobs(head: Silent) -> Behind:
    return Behind(Connection(f"http://127.0.0.1:{head.server_port}"))


def test_a_head_that_swallows_everything_is_told_once_and_given_up(
    jobs: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE", 1.0)
    said: list[str] = []
    with pytest.raises(ResourceError, match="has not answered for an hour"):
        following.follow(jobs, "small", print, said.append)
    assert len(said) == 1
    assert "the job continues; reconnecting" in said[0]
    assert jobs.tails > 1


def test_a_job_that_ended_behind_a_dead_connection_is_found(
    head: Silent, jobs: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 60.0)  # an answer comes
    head.answer = 200, {"submission_id": "small", "status": "SUCCEEDED"}
    said: list[str] = []
    assert following.follow(jobs, "small", print, said.append).status == "complete"
    assert said == []


def test_a_head_that_is_not_ready_is_asked_again_after_a_pause(
    head: Silent, jobs: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "STARTING", 0.5)
    head.answer = 404, None
    with pytest.raises(ResourceError, match=r"did not accept the job: No available agent"):
        jobs.submit("small", "true", {}, tmp_path)
    assert jobs.submissions <= 2
