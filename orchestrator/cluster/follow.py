"""Following a job's log to its end, every line once, through connections that are lost and come back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from orchestrator.cluster.jobs import Job, Jobs, LostError
from orchestrator.errors import ResourceError

SILENCE = 60.0  # seconds without a line after which the connection is made anew: a dead one may look like a quiet one
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between tries, doubling
PATIENCE = 3600.0  # seconds without any answer after which we give up; the job itself goes on


class Unrepeated:
    """Cuts a log that is sent from its beginning again and again into lines, each one once."""

    def __init__(self) -> None:
        self._seen = 0  # characters of the log taken in, over all connections
        self._position = 0  # characters of the log that this connection has sent
        self._rest = ""  # of a line whose end has not come

    def connect(self) -> None:
        """The log will be sent from its beginning."""
        self._position = 0

    def add(self, piece: str) -> list[str]:
        """The lines that ``piece``, the next of this connection, completes."""
        new = piece[max(0, self._seen - self._position) :]
        self._position += len(piece)
        self._seen = max(self._seen, self._position)
        *lines, self._rest = (self._rest + new).split("\n")
        return lines

    def end(self) -> list[str]:
        """What is left of a last line without an end."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []


def follow(jobs: Jobs, job: str, show: Callable[[str], None], say: Callable[[str], None]) -> Job:
    """Give every line of the job's log to ``show``, until the job has ended; returns how it did.

    A lost connection is told to ``say`` once and made again, with growing pauses. Raises ResourceError if the
    cluster stays away for an hour, refuses the token, or does not know the job any more.
    """
    return asyncio.run(_follow(jobs, job, show, say))


async def _follow(jobs: Jobs, job: str, show: Callable[[str], None], say: Callable[[str], None]) -> Job:
    log = Unrepeated()
    away_since: float | None = None
    wait = FIRST_WAIT

    def answered() -> None:
        nonlocal away_since
        if away_since is not None:
            say("connected again")
        away_since = None

    while True:
        log.connect()
        try:
            try:
                async for piece in _until_silent(jobs.tail(job)):
                    answered()
                    wait = FIRST_WAIT
                    for line in log.add(piece):
                        show(line)
            except TimeoutError:  # a quiet job or a dead connection: the next question tells them apart
                wait = FIRST_WAIT
            found = await asyncio.to_thread(jobs.find, job)
            answered()
            if found is None:
                raise ResourceError(f"{jobs.address} does not know the job {job} any more; was the cluster replaced?")
            if found.has_ended:
                for line in log.end():
                    show(line)
                return found
        except LostError as problem:
            if away_since is None:
                away_since = time.monotonic()
                say(f"connection to {jobs.address} lost ({problem}); the job goes on, trying again")
            elif time.monotonic() - away_since > PATIENCE:
                raise ResourceError(
                    f"{jobs.address} has not answered for an hour; the job may go on: orchestrator logs {job} --follow"
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
