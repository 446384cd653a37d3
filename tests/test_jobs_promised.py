"""What the guide of jobs promises, where no cluster is needed: watching and Ctrl-C, `--again`, and an hour to end."""

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
from orchestrator.cluster.submit import Submission, submit
from orchestrator.cluster.working_dir import WorkingDir
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


class Remembering(Jobs):
    """The jobs of a cluster that accepts every one; how they end, the test says."""

    def __init__(self) -> None:
        super().__init__(Connection("http://head"))
        self.there: dict[str, Job] = {}
        self.entrypoints: dict[str, str] = {}

    def all(self) -> list[Job]:
        return list(self.there.values())

    def find(self, job: str) -> Job | None:
        return self.there.get(job)

    def submit(self, job: str, entrypoint: str, *_: Any, **__: Any) -> bool:
        self.there[job], self.entrypoints[job] = Job(job, "running"), entrypoint
        return True


def test_a_complete_job_is_started_anew_with_again_and_what_then_fails_is_resumed_without(tmp_path: Path) -> None:
    jobs, said = Remembering(), []
    what = Submission("small", 2, ("small.yaml",), WorkingDir(tmp_path, {}), ".", "orchestrator submit", "01234567")
    first, second, third = "small-01234567", "small-01234567-2", "small-01234567-3"
    assert submit(jobs, what, said.append) == (Job(first, "running"), True)
    assert submit(jobs, what, said.append, again=True) == (Job(first, "running"), False)  # it is joined while it runs
    jobs.there[first] = Job(first, "complete", 0)
    assert submit(jobs, what, said.append) == (jobs.there[first], False)
    assert submit(jobs, what, said.append, again=True) == (Job(second, "running"), True)
    jobs.there[second] = Job(second, "failed", 1)
    assert submit(jobs, what, said.append) == (Job(third, "running"), True)
    assert f"job {second} ran this experiment and has failed trials; {third} resumes it" in said
    assert [name for name, entrypoint in jobs.entrypoints.items() if "--again" in entrypoint] == [second]
