"""Ray's Jobs API: submit, list, follow and stop jobs; and their names."""

import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.cluster.address import SOURCES, TURNED_AWAY, Door
from orchestrator.errors import OrchestratorError, ResourceError

PATIENCE = 30.0  # seconds for one answer
STARTING = 60.0  # seconds that a head may take to accept jobs
BETWEEN = 1.0  # seconds between two attempts
DRAIN = 3600  # seconds between a job's SIGTERM and its SIGKILL: an epoch may be long, and Ray's own 3 s are not enough
MARK = "orchestrator"  # metadata key that marks jobs of this program
DIGITS = 8  # of the experiment's hash, in a job's name

PENDING, RUNNING, COMPLETE, FAILED, STOPPED = "pending", "running", "complete", "failed", "stopped"
_NOT_YET = "No available agent"  # answer of a head in its first seconds
_CHATTY = (
    "ray.dashboard.modules.job.sdk",
    "ray.dashboard.modules.dashboard_sdk",
    "ray._private.runtime_env.packaging",
)
_STATES = {"PENDING": PENDING, "RUNNING": RUNNING, "SUCCEEDED": COMPLETE, "FAILED": FAILED, "STOPPED": STOPPED}


class LostError(OrchestratorError):
    """The cluster does not answer at the moment."""


@dataclass(frozen=True)
class Job:
    """One submitted job as listed by the cluster; times are seconds since 1970."""

    id: str
    status: str  # pending, running, complete, failed or stopped
    driver_exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return self.status not in (PENDING, RUNNING)

    @property
    def exit_code(self) -> int:
        """The exit code of a command that followed this job to its end: 0 done, 1 failed, 2 invalid, 130 stopped."""
        if self.status == COMPLETE:
            return 0
        if self.status == STOPPED:
            return 130
        return self.driver_exit_code if self.driver_exit_code in (1, 2, 130) else 1

    @property
    def is_ours(self) -> bool:
        """Whether `orchestrator submit` made it."""
        return MARK in self.metadata

    def to_json(self) -> dict[str, Any]:
        """The document of ``status --json``."""
        return {
            "job": self.id,
            "status": self.status,
            "experiment": self.metadata.get("experiment", ""),
            "trials": int(self.metadata.get("trials", "0")),
            "started": self.started,
            "ended": self.ended,
            "exit_code": self.exit_code if self.has_ended else None,
        }


class Jobs:
    """The jobs of one cluster. Every method raises LostError if it does not answer, ResourceError if it refuses."""

    def __init__(self, door: Door) -> None:
        self.address = door.address
        self._headers = dict(door.headers)
        self._submitter: Any = None

    def find(self, job: str) -> Job | None:
        """The job called ``job``, or None."""
        answer = self._ask("GET", f"/api/jobs/{quote(job, safe='')}", missing_is_none=True)
        return None if answer is None else _job(answer)

    def all(self) -> list[Job]:
        """The jobs that `orchestrator submit` started, the oldest first."""
        found = [_job(plain) for plain in self._ask("GET", "/api/jobs/") if plain.get("submission_id")]
        return sorted((job for job in found if job.is_ours), key=lambda job: (job.started or 0, job.id))

    def submit(self, job: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> bool:
        """Start ``entrypoint`` in a copy of ``folder`` on the cluster; False if a job of this name exists already."""
        client = self._client()
        environment = {
            "working_dir": str(folder),
            # Read by the process that guards the driver, which has the job's environment.
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(DRAIN)},
        }
        deadline = time.monotonic() + STARTING
        while True:
            try:
                client.submit_job(
                    entrypoint=entrypoint, submission_id=job, runtime_env=environment, metadata={MARK: "1", **metadata}
                )
                return True
            except (RuntimeError, OSError, ValueError) as problem:  # Ray answers HTTP 500 if the name is taken
                if self.find(job) is not None:
                    return False
                if _NOT_YET not in str(problem) or time.monotonic() > deadline:
                    raise ResourceError(f"{self.address} did not accept the job: {_reason(problem)}") from problem
            time.sleep(BETWEEN)

    def stop(self, job: str) -> bool:
        """Send the job's driver SIGTERM; False if it was not running."""
        answer = self._ask("POST", f"/api/jobs/{quote(job, safe='')}/stop")
        return bool(answer.get("stopped"))

    def log(self, job: str) -> str:
        """The whole output of the job."""
        answer = self._ask("GET", f"/api/jobs/{quote(job, safe='')}/logs")
        return str(answer.get("logs", ""))

    async def tail(self, job: str) -> AsyncIterator[str]:
        """The job's log from its beginning, in pieces, until the job has ended or the connection is lost."""
        import aiohttp

        try:
            async for piece in self._client().tail_job_logs(job):
                yield piece
        except aiohttp.WSServerHandshakeError as problem:
            self._refuse(problem.status)
            raise LostError(f"HTTP {problem.status}") from problem
        except (aiohttp.ClientError, RuntimeError, OSError) as problem:
            raise LostError(_reason(problem)) from problem

    def _client(self) -> Any:
        """Ray's own client, created once; importing it takes a second or two."""
        if self._submitter is None:
            os.environ["RAY_API_SERVER_ADDRESS"] = self.address  # Ray lets its variables overrule what it is given
            for name in ("NO_PROXY", "no_proxy"):  # the token is for the cluster, not for a proxy
                os.environ[name] = "*"
            import logging

            from ray.job_submission import JobSubmissionClient

            for name in _CHATTY:
                logging.getLogger(name).setLevel(logging.WARNING)
            try:
                self._submitter = JobSubmissionClient(self.address, headers=dict(self._headers))
            except (RuntimeError, OSError) as problem:
                raise LostError(_reason(problem)) from problem
        return self._submitter

    def _ask(self, method: str, path: str, missing_is_none: bool = False) -> Any:
        import requests

        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.request(
                    method, self.address + path, headers=self._headers, timeout=PATIENCE, allow_redirects=False
                )
            except requests.RequestException as problem:
                raise LostError(f"{self.address} no longer answers: {_reason(problem)}") from problem
        self._refuse(answer.status_code)
        if answer.status_code == 404 and missing_is_none:
            return None
        try:
            if answer.status_code != 200:
                raise ValueError((answer.text.strip().splitlines() or [""])[-1][:200])
            return answer.json()
        except ValueError as problem:
            raise LostError(f"{self.address} answers HTTP {answer.status_code}: {problem}") from problem

    def _refuse(self, status: int) -> None:
        if status in TURNED_AWAY:
            raise ResourceError(f"{self.address} rejects the token ({status}); it was looked for in {SOURCES}")


def job_name(experiment: str, digest: str) -> str:
    """``widths-1a2b3c4d``: the name of an experiment's first job; letters, digits, '-', '_' and '.' only."""
    plain = "".join(c if c.isascii() else "_" for c in experiment)
    return f"{plain}-{digest[:DIGITS]}"


def attempts(base: str, jobs: Sequence[Job]) -> list[Job]:
    """The ``jobs`` named ``base``, ``base-2``, ``base-3``, ...; the last one is the newest."""
    name = re.compile(re.escape(base) + r"(?:-([2-9]|[1-9]\d+))?")
    found = [(int(match[1] or 1), job) for job in jobs if (match := name.fullmatch(job.id))]
    return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def next_name(base: str, jobs: Sequence[Job]) -> str:
    """The name of this experiment's next job: a name can be used only once."""
    done = attempts(base, jobs)
    if not done:
        return base
    newest = done[-1].id.removeprefix(base).removeprefix("-")
    return f"{base}-{int(newest or 1) + 1}"


def _job(plain: Mapping[str, Any]) -> Job:
    def seconds(key: str) -> float | None:
        return plain[key] / 1000 if plain.get(key) else None

    code = plain.get("driver_exit_code")
    return Job(
        id=str(plain.get("submission_id") or plain.get("job_id") or ""),
        status=_STATES.get(str(plain.get("status")), str(plain.get("status")).lower()),
        driver_exit_code=int(code) if code is not None else None,
        started=seconds("start_time"),
        ended=seconds("end_time"),
        message=str(plain.get("message") or ""),
        metadata=dict(plain.get("metadata") or {}),
    )


def _reason(problem: BaseException) -> str:
    """The last line that is not empty, without Python's object addresses."""
    lines = [line for line in str(problem).strip().splitlines() if line.strip(" .")]
    return re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "connection", lines[-1])[:200] if lines else type(problem).__name__
