"""The sink: a thread of the driver that writes records to MLflow in order, each once, in batches."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from orchestrator.errors import TrackingError
from orchestrator.records import Outcome, Record, Status
from orchestrator.redact import redact
from orchestrator.text import first_line, in_one_line
from orchestrator.tracking import lease
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.transient import is_transient
from orchestrator.tracking.unpublished import began
from orchestrator.tracking.writer import Writer

PATIENCE = 120.0  # seconds that closing waits for a tracking server that does not answer
LONGEST_PAUSE = 10.0  # seconds between two attempts
LAST_WORD = "the records stay in the trial folders, and `orchestrator resume` delivers them"
RECORDS, ARTIFACTS = "the tracking store", "the artifact store"  # the two that are written to

_logger = logging.getLogger(__name__)
# A trial, "" for the launch itself; what is to be written of it, and where.
Event = tuple[str, Record | Callable[[], None], str]


class Sink:
    """A listener that records a launch in MLflow.

    Calls return at once; its own thread does the writing. Waiting records of the same run are sent in one call. A
    store that does not answer is retried until :meth:`flush` or :meth:`close` has waited ``patience`` seconds. Even if
    something could not be delivered, a trial's run ends as the trial ended, and says what is missing.
    """

    def __init__(self, runs: "LaunchRuns | Future[LaunchRuns]", patience: float = PATIENCE) -> None:
        self._opening = runs if isinstance(runs, Future) else _opened(runs)
        self._writer = Writer(self._opening)
        self.run_ids = self._writer.run_ids
        self.patience = patience
        self._events: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._deadline: float | None = None
        self._problems: list[str] = []
        self._given_up: set[str] = set()  # of RECORDS and ARTIFACTS
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

    def on_plan(self, trials: Sequence[str]) -> None:
        """Say how many trials the plan has now."""
        self._events.put(("", self._writer.count_planned, RECORDS))

    def on_start(self, trial: str, epoch: int = 1) -> None:
        """Open the trial's run, or find the one it has."""
        self._open(trial, time.time())

    def _open(self, trial: str, began: float | None) -> None:
        self._events.put((trial, lambda: self._writer.open(trial, began), RECORDS))

    def on_record(self, trial: str, record: Record) -> None:
        """Publish one record, unless its epoch has been published before."""
        self._events.put((trial, record, RECORDS))

    def on_end(self, outcome: Outcome) -> None:
        """Publish what the trial left and how it ended; its report follows when it has been made."""
        trial, heard = outcome.trial, time.time()
        self._events.put((trial, lambda: self._writer.send(outcome), ARTIFACTS))
        self._events.put((trial, lambda: self._writer.summarize(outcome), RECORDS))
        self._events.put((trial, lambda: self._writer.finish(outcome, trial in self._refused), RECORDS))
        self._events.put((trial, lambda: self._writer.terminate(outcome, heard), RECORDS))

    def on_report(self, trial: str, folder: Path, report: bool, model: bool) -> None:
        """Publish the report, the model or both that have been made in an ended trial's ``folder``."""
        self._events.put((trial, lambda: self._writer.send_report(trial, folder, report, model), ARTIFACTS))

    def then(self, trial: str, call: Callable[[], None]) -> None:
        """Run this when everything so far is written, but not if something of ``trial`` was not delivered."""
        self._events.put((trial, lambda: None if trial in self._refused else call(), RECORDS))

    def flush(self) -> bool:
        """Wait until everything so far is written; False if the tracking store did not answer in time."""
        written = threading.Event()
        self._events.put(written)
        self._deadline = time.monotonic() + self.patience
        written.wait()
        if RECORDS in self._given_up:
            return False
        self._deadline = None
        return True

    def catch_up(self, trial: str, records: Sequence[Record]) -> None:
        """Publish what an earlier process had recorded on disk but perhaps not delivered."""
        self._open(trial, began(records))
        for record in records:
            self.on_record(trial, record)

    def close(self, status: Status, reason: str = "") -> None:
        """Deliver everything and end the launch's own run. Raises TrackingError that names what was not delivered."""
        self._events.put(("", lambda: self._writer.end_launch(status, reason), RECORDS))
        self._events.put(None)
        self._deadline = time.monotonic() + self.patience
        self._thread.join()
        if (refused := self._opening.exception()) is not None:
            raise refused
        if self._problems:
            raise TrackingError("\n".join([*dict.fromkeys(self._problems), LAST_WORD]))

    def _work(self) -> None:
        if self._opening.exception() is not None:  # waits until it is known
            self._given_up.add(RECORDS)
            self._write_all()
            return
        runs = self.runs
        reopening: Event = ("", lambda: lease.reopen_closed(runs, self.run_ids.values()), RECORDS)
        heartbeat = lease.Heartbeat(runs.client, runs.parent_run_id, lambda: self._events.put(reopening))
        heartbeat.start()
        self._write_all()
        heartbeat.end()

    def _write_all(self) -> None:
        waiting: dict[str, list[Record]] = {}
        while True:
            event = self._events.get()
            if isinstance(event, tuple) and isinstance(event[1], Record):
                waiting.setdefault(event[0], []).append(event[1])
                if not self._events.empty():
                    continue  # more has come in the meantime: it may go out in the same call
            for trial, records in waiting.items():
                self._deliver(trial, partial(self._writer.publish, trial, records), RECORDS)
            waiting.clear()
            if event is None:
                return
            if isinstance(event, threading.Event):
                event.set()
                continue
            trial, write, store = event
            if not isinstance(write, Record):
                self._deliver(trial, write, store)

    def _deliver(self, trial: str, write: Callable[[], None], store: str) -> None:
        """Call ``write`` until it succeeds, is rejected, or time is up; in the latter cases ``trial`` is noted.

        Artifacts that cannot be stored delay records no longer than that: after it, only writes to ``store`` and to a
        tracking store that answers are tried.
        """
        pause = 0.25
        while not self._given_up & {store, RECORDS}:
            try:
                return write()
            except Exception as problem:  # another program's errors are reported and never stop the training
                if not is_transient(problem):
                    self._problems.append(f"{trial or 'the launch'}: {store} rejected a record: {_reason(problem)}")
                    break
                if self._deadline is not None and time.monotonic() + pause > self._deadline:
                    self._problems.append(f"{store} did not answer: {_reason(problem)}")
                    self._given_up.add(store)
                    break
                if pause == 0.25:
                    _logger.warning("%s does not answer, records wait: %s", store, _reason(problem))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._refused.add(trial)
        return None


def _opened(runs: LaunchRuns) -> "Future[LaunchRuns]":
    done: Future[LaunchRuns] = Future()
    done.set_result(runs)
    return done


def _reason(problem: BaseException) -> str:
    text = first_line(problem)
    return redact(text if len(text.split()) > 1 else in_one_line(problem))  # KeyError: 'name'
