"""The sink: a thread on the driver that writes records to MLflow in order, each once, one batched call at a time."""

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import TrackingError
from orchestrator.records import Outcome, Record, Status
from orchestrator.redact import redact
from orchestrator.tracking import lease
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.writer import Writer

PATIENCE = 120.0  # seconds that closing waits for a tracking server that does not answer
LONGEST_PAUSE = 10.0  # seconds between two tries
LAST_WORD = "the records stay in the trial folders, and `orchestrator resume` delivers them"
STORE_CLIENTS = {"botocore", "boto3", "s3transfer", "google", "requests", "urllib3"}  # of artifacts

_logger = logging.getLogger(__name__)
Event = tuple[str, Record | Callable[[], None]]  # a trial, "" for the launch itself, and what is to be written of it


class Sink:
    """A listener that records a launch in MLflow.

    Calls return at once; a thread of its own does the writing. Records that wait for the same run go out in one
    call. A store that does not answer is asked again until :meth:`flush` or :meth:`close` has waited ``patience``
    seconds.
    """

    def __init__(self, runs: "LaunchRuns | Future[LaunchRuns]", patience: float = PATIENCE) -> None:
        self._opening = runs if isinstance(runs, Future) else _opened(runs)
        self._writer = Writer(self._opening)
        self.run_ids = self._writer.run_ids
        self.patience = patience
        self._events: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._deadline: float | None = None
        self._problems: list[str] = []
        self._gave_up = False
        self._refused: set[str] = set()  # trials of which something was not delivered
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> LaunchRuns:
        """Where the launch is recorded; waits until the store has been opened, and raises what that raised."""
        return self._writer.runs

    def refused(self) -> bool:
        """Whether the store could not be opened: then nothing can be recorded, and there is no use in training."""
        return self._opening.done() and self._opening.exception() is not None

    def on_start(self, trial: str) -> None:
        """Open the trial's run, or find the one it has."""
        self._events.put((trial, lambda: self._writer.open(trial)))

    def on_record(self, trial: str, record: Record) -> None:
        """Publish one record, unless its epoch has been published before."""
        self._events.put((trial, record))

    def on_end(self, outcome: Outcome) -> None:
        """Publish what the trial left and how it ended; its report follows when it has been made."""
        self._events.put((outcome.trial, lambda: self._writer.send(outcome)))
        self._events.put((outcome.trial, lambda: self._writer.finish(outcome, outcome.trial in self._refused)))

    def on_report(self, trial: str, folder: Path, report: bool, model: bool) -> None:
        """Publish the report, the model or both that have been made in an ended trial's ``folder``."""
        self._events.put((trial, lambda: self._writer.send_report(trial, folder, report, model)))

    def then(self, trial: str, call: Callable[[], None]) -> None:
        """Call this when everything that was said so far is written."""
        self._events.put((trial, call))

    def flush(self) -> bool:
        """Wait until all that was said so far is written; False if the store did not answer in time."""
        written = threading.Event()
        self._events.put(written)
        self._deadline = time.monotonic() + self.patience
        written.wait()
        if not self._gave_up:
            self._deadline = None
        return not self._gave_up

    def catch_up(self, trial: str, records: Iterable[Record]) -> None:
        """Publish what an earlier process had recorded on disk but perhaps not delivered."""
        self.on_start(trial)
        for record in records:
            self.on_record(trial, record)

    def close(self, status: Status, reason: str = "") -> None:
        """Deliver everything and end the launch's own run. Raises TrackingError that names what was not delivered."""
        self._events.put(("", lambda: self._writer.end_launch(status, reason)))
        self._events.put(None)
        self._deadline = time.monotonic() + self.patience
        self._thread.join()
        if (refused := self._opening.exception()) is not None:
            raise refused
        if self._problems:
            raise TrackingError("\n".join([*dict.fromkeys(self._problems), LAST_WORD]))

    def _work(self) -> None:
        if self._opening.exception() is not None:  # waits until it is known
            self._gave_up = True
            self._write_all()
            return
        keeper = lease.Keeper(self.runs.client, self.runs.parent_run_id)
        keeper.start()
        self._write_all()
        keeper.end()

    def _write_all(self) -> None:
        waiting: dict[str, list[Record]] = {}
        while True:
            event = self._events.get()
            if isinstance(event, tuple) and isinstance(event[1], Record):
                waiting.setdefault(event[0], []).append(event[1])
                if not self._events.empty():
                    continue  # more has come in the meantime: it may go out in the same call
            for trial, records in waiting.items():
                self._deliver(trial, partial(self._writer.publish, trial, records))
            waiting.clear()
            if event is None:
                return
            if isinstance(event, threading.Event):
                event.set()
                continue
            trial, write = event
            if not isinstance(write, Record):
                self._deliver(trial, write)

    def _deliver(self, trial: str, write: Callable[[], None]) -> None:
        """Call ``write`` until it succeeds, is refused for good, or time is up; of ``trial`` no end is then written."""
        pause = 0.25
        while not self._gave_up:
            try:
                return write()
            except Exception as problem:  # the boundary to another program: it is told, and never stops the training
                if not _may_pass(problem):
                    self._problems.append(f"MLflow refused a record: {_first_line(problem)}")
                    self._refused.add(trial)
                    return None
                if self._deadline is not None and time.monotonic() + pause > self._deadline:
                    self._problems.append(f"the tracking store did not answer: {_first_line(problem)}")
                    self._gave_up = True
                    return None
                if pause == 0.25:
                    _logger.warning("the tracking store does not answer, records wait: %s", _first_line(problem))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return None


def _opened(runs: LaunchRuns) -> "Future[LaunchRuns]":
    done: Future[LaunchRuns] = Future()
    done.set_result(runs)
    return done


def _may_pass(problem: Exception) -> bool:
    """Whether it may help to ask again: the store is away, busy or full, rather than of another opinion."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import HTTPError

    if isinstance(problem, MlflowException):
        final = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "PERMISSION_DENIED"}
        return problem.error_code not in final
    if isinstance(problem, HTTPError):  # an artifact that the server did not take
        return problem.response is None or problem.response.status_code >= 500
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # An object store's client raises errors of its own, known by their package since it need not be installed. Not
    # whatever is unknown: a mistake in one trial's report would hold up every other trial.
    package = type(problem).__module__.partition(".")[0]
    return package in STORE_CLIENTS or isinstance(problem, (ConnectionError, TimeoutError))


def _first_line(problem: Any) -> str:
    return redact((str(problem).splitlines() or [type(problem).__name__])[0])
