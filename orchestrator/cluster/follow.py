"""Follow a job's log to its end, every line once, across lost connections; or wait until a stopped job has ended."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from orchestrator.cluster.job import Job
from orchestrator.cluster.jobs import Jobs, LostError
from orchestrator.errors import ResourceError

SILENCE = 60.0  # seconds without a line after which to reconnect: a dead connection may look like a quiet one
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between tries, doubling
PAUSE = 1.0  # seconds between looks at a job that is stopping
PATIENCE = 3600.0  # seconds without any answer before giving up; the job itself continues


class LogTailer:
    """Splits a log that is resent from its beginning by every connection into lines, each one once."""

    def __init__(self) -> None:
        self._seen = 0  # characters of the log processed, over all connections
        self._position = 0  # characters of the log that this connection has sent
        self._rest = ""  # of an incomplete line

    def connect(self) -> None:
        """The log will be sent from its beginning."""
        self._position = 0

    def add(self, piece: str) -> list[str]:
        """The lines that ``piece``, the next part of this connection, completes."""
        new = piece[max(0, self._seen - self._position) :]
        self._position += len(piece)
        self._seen = max(self._seen, self._position)
        *lines, self._rest = (self._rest + new).split("\n")
        return lines

    def end(self) -> list[str]:
        """The last line, if it has no line break."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []


def follow(jobs: Jobs, job: str, show: Callable[[str], None], log: Callable[[str], None]) -> Job:
    """Call ``show`` with every line of the job's log until the job has ended; returns the job.

    A lost connection is reported to ``log`` once and retried with growing pauses. Raises ResourceError if the cluster
    is unreachable for an hour, rejects the token, or no longer knows the job.
    """
    return asyncio.run(_follow(jobs, job, show, log))


async def _follow(jobs: Jobs, job: str, show: Callable[[str], None], log: Callable[[str], None]) -> Job:
    tailer = LogTailer()
    away_since: float | None = None
    wait = FIRST_WAIT

    def answered() -> None:
        nonlocal away_since
        if away_since is not None:
            log("reconnected")
        away_since = None

    while True:
        tailer.connect()
        try:
            try:
                async for piece in _until_silent(jobs.tail(job)):
                    answered()
                    wait = FIRST_WAIT
                    for line in tailer.add(piece):
                        show(line)
            except TimeoutError:  # a quiet job or a dead connection: the next request shows which
                wait = FIRST_WAIT
            found = await asyncio.to_thread(jobs.find, job)
            answered()
            if found is None:
                raise ResourceError(f"{jobs.address} no longer knows job {job}; was the cluster replaced?")
            if found.has_ended:
                for line in tailer.end():
                    show(line)
                return found
        except LostError as problem:
            if away_since is None:
                away_since = time.monotonic()
                log(f"connection to {jobs.address} lost ({problem}); the job continues; reconnecting")
            elif time.monotonic() - away_since > PATIENCE:
                raise ResourceError(
                    f"{jobs.address} has not answered for an hour; follow the job: orchestrator logs {job} --follow"
                ) from problem
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


async def _until_silent(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The same pieces; raises TimeoutError when none has come for a while."""
    while True:
        try:
            yield await asyncio.wait_for(anext(pieces), SILENCE)
        except StopAsyncIteration:
            return


def wait_until_ended(jobs: Jobs, job: str, log: Callable[[str], None]) -> Job:
    """The job, once it has ended; a lost connection is reported to ``log`` once.

    Raises ResourceError if the cluster no longer knows it.
    """
    lost = False
    while True:
        time.sleep(PAUSE)
        try:
            found = jobs.find(job)
        except LostError as problem:
            if not lost:
                log(f"{problem}; trying again")
            lost = True
            continue
        lost = False
        if found is None:
            raise ResourceError(f"{jobs.address} no longer knows job {job}; was the cluster replaced?")
        if found.has_ended:
            return found
