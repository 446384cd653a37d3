"""Ray's Jobs API: submit, list, follow and stop jobs."""

import logging
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.cluster.address import REJECTED, SOURCES, Connection
from orchestrator.cluster.job import MARK, Job
from orchestrator.errors import OrchestratorError, ResourceError
from orchestrator.scoped import environment, log_level

PATIENCE = 30.0  # seconds for one answer
STARTING = 60.0  # seconds that a head may take to accept jobs
BETWEEN = 1.0  # seconds between two attempts
DRAIN = 3600  # seconds between a job's SIGTERM and its SIGKILL: an epoch may be long, and Ray's own 3 s are not enough

_NOT_YET = "No available agent"  # answer of a head in its first seconds
_CHATTY = ("ray.dashboard.modules", "ray._private.runtime_env")  # loggers that report each step


class LostError(OrchestratorError):
    """The cluster does not answer at the moment."""


class Jobs:
    """The jobs of one cluster. Every method raises LostError if it does not answer, ResourceError if it refuses."""

    def __init__(self, connection: Connection) -> None:
        self.address = connection.address
        self._headers = dict(connection.headers)
        self._submitter: Any = None

    def find(self, job: str) -> Job | None:
        """The job called ``job``, or None."""
        answer = self._ask("GET", f"/api/jobs/{quote(job, safe='')}", missing_is_none=True)
        return None if answer is None else Job.from_ray(answer)

    def get(self, job: str) -> Job:
        """The job called ``job``. Raises ResourceError that lists the jobs there are."""
        if job and (found := self.find(job)) is not None and found.id == job:
            return found
        there = [job.id for job in self.all()]
        raise ResourceError(f"{self.address} has no job {job!r}; it has: {', '.join(there) or 'none'}")

    def all(self) -> list[Job]:
        """The jobs that `orchestrator submit` started, the oldest first."""
        found = [Job.from_ray(plain) for plain in self._ask("GET", "/api/jobs/") if plain.get("submission_id")]
        return sorted((job for job in found if job.is_ours), key=lambda job: (job.started or 0, job.id))

    def submit(
        self,
        job: str,
        entrypoint: str,
        metadata: Mapping[str, str],
        folder: Path,
        excludes: Sequence[str] = (),
    ) -> bool:
        """Start ``entrypoint`` on the cluster; False if a job of this name exists already.

        It runs in a copy of ``folder`` without what ``excludes``, patterns of .gitignore, and its .gitignore match.
        """
        environment = {
            "working_dir": str(folder),
            "excludes": list(excludes),
            # Read by the process that guards the driver, which has the job's environment.
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(DRAIN)},
        }
        deadline = time.monotonic() + STARTING
        while True:
            try:
                with _ray_settings(self.address):
                    self._client().submit_job(
                        entrypoint=entrypoint,
                        submission_id=job,
                        runtime_env=environment,
                        metadata={MARK: "1", **metadata},
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
        """Ray's own client, created once; importing it takes a second or two.

        Without a header it would look for a token by itself and send it, also to a server that has asked for none.
        """
        if self._submitter is None:
            with _ray_settings(self.address):
                from ray.job_submission import JobSubmissionClient

                try:
                    self._submitter = JobSubmissionClient(self.address, headers={"Authorization": "", **self._headers})
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
        if status in REJECTED:
            raise ResourceError(f"{self.address} rejects the token ({status}); it was looked for in {SOURCES}")


@contextmanager
def _ray_settings(address: str) -> Iterator[None]:
    """What Ray's client reads from the environment, and its loggers, for as long as it is called."""
    # Ray lets its variable overrule the address that it is given, and the token is for the cluster, not for a proxy.
    wanted = {"RAY_API_SERVER_ADDRESS": address, "NO_PROXY": "*", "no_proxy": "*"}
    with environment(wanted), log_level(logging.ERROR, *_CHATTY):
        yield


def _reason(problem: BaseException) -> str:
    """The last line that is not empty, without Python's object addresses."""
    lines = [line for line in str(problem).strip().splitlines() if line.strip(" .")]
    return re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "connection", lines[-1])[:200] if lines else type(problem).__name__
