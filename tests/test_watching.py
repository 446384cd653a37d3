"""What a user of a cluster is promised of a job that is watched: Ctrl-C ends the watching, and the job has an hour."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cluster.address import Connection
from orchestrator.cluster.job import Job
from orchestrator.cluster.jobs import Jobs
from orchestrator.workflow.watch import watch


class Quiet(Jobs):
    """The jobs of a cluster that is asked for nothing but a log of one line, after which its user presses Ctrl-C."""

    asked: tuple[str, ...] = ()

    async def tail(self, job: str) -> AsyncIterator[str]:
        yield "first line\n"
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    def _ask(self, method: str, path: str, **_: Any) -> Any:
        self.asked += (f"{method} {path}",)


def test_ctrl_c_ends_the_watching_and_not_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    jobs, said = Quiet(Connection("http://head")), []
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, result = watch(jobs, Job("small", "running"), Console(), said.append, " --address http://head")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (code, result) == (130, None)
    assert capsys.readouterr().out == "first line\n"
    assert [line.strip() for line in said] == [
        "no longer watching; job small continues",
        "watch it again: orchestrator logs small --follow --address http://head",
        "stop it:        orchestrator stop small --address http://head",
    ]
    assert jobs.asked == ()  # least of all to stop


def test_a_job_has_an_hour_to_finish_its_epochs_whatever_the_cluster_says(tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    class Accepting(Jobs):
        def _client(self) -> Any:
            return self

        def submit_job(self, **what: Any) -> None:
            given.update(what)

    assert Accepting(Connection("http://head")).submit("small", "true", {}, tmp_path)
    assert given["submission_id"] == "small"
    assert given["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "3600"}  # seconds
