"""The sink: a thread on the driver that writes records to MLflow in order, each once, one batched call at a time."""

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import records as keys
from orchestrator.errors import TrackingError
from orchestrator.records import Outcome, Record, Status
from orchestrator.redact import redact
from orchestrator.tracking import lease
from orchestrator.tracking.artifacts import REPORT_FILE, artifacts_of, log_folder, log_report, log_traceback
from orchestrator.tracking.models import MODEL_FILE, log_model
from orchestrator.tracking.runs import (
    CANNOT_BE_MADE,
    FAILURE,
    MADE,
    MODEL,
    NOTE,
    REASON,
    REPORT,
    STATUS,
    LaunchRuns,
    reopen,
    shorten,
)
from orchestrator.trial import TrialFolder

MLFLOW_STATUS = {Status.COMPLETE: "FINISHED", Status.STOPPED: "KILLED", Status.FAILED: "FAILED"}
PATIENCE = 120.0  # seconds that closing waits for a tracking server that does not answer
LONGEST_PAUSE = 10.0  # seconds between two tries
MOST_METRICS = 1_000  # in one batch; MLflow's limit
LAST_WORD = "the records stay in the trial folders, and `orchestrator resume` delivers them"
REASON_REFUSED = "not all of it could be delivered; `orchestrator resume` delivers the rest"
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
        self.patience = patience
        self.run_ids: dict[str, str] = {}
        self._published: dict[str, set[tuple[int, bool]]] = {}
        self._events: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._deadline: float | None = None
        self._problems: list[str] = []
        self._gave_up = False
        self._reopened: set[str] = set()  # trials with runs that an earlier process, or a failed try, had made
        self._refused: set[str] = set()  # trials of which something was not delivered
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> LaunchRuns:
        """Where the launch is recorded; waits until the store has been opened, and raises what that raised."""
        return self._opening.result()

    def refused(self) -> bool:
        """Whether the store could not be opened: then nothing can be recorded, and there is no use in training."""
        return self._opening.done() and self._opening.exception() is not None

    def on_start(self, trial: str) -> None:
        """Open the trial's run, or find the one it has."""
        self._events.put((trial, lambda: self._open(trial)))

    def on_record(self, trial: str, record: Record) -> None:
        """Publish one record, unless its epoch has been published before."""
        self._events.put((trial, record))

    def on_end(self, outcome: Outcome) -> None:
        """Publish what the trial left and how it ended; its report follows when it has been made."""
        self._events.put((outcome.trial, lambda: self._send(outcome)))
        self._events.put((outcome.trial, lambda: self._finish(outcome)))

    def on_report(self, trial: str, folder: Path, report: bool, model: bool) -> None:
        """Publish the report, the model or both that have been made in an ended trial's ``folder``."""
        self._events.put((trial, lambda: self._send_report(trial, folder, report, model)))

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
        self._events.put(("", lambda: self._end_launch(status, reason)))
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
                self._deliver(trial, partial(self._publish, trial, records))
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

    def _open(self, trial: str) -> None:
        if trial in self.run_ids:
            return
        run = self.runs.find(trial)
        if run is None:
            run, published = self.runs.create(trial), set()
        else:
            client, run_id = self.runs.client, run.info.run_id
            epochs = {(m.step, False) for m in client.get_metric_history(run_id, keys.TRAIN_LOSS)}
            published = epochs | {(m.step, True) for m in client.get_metric_history(run_id, keys.BEST_EPOCH)}
            reopen(client, run_id)
            self._reopened.add(trial)
        self.runs.describe(trial, run)
        self.run_ids[trial], self._published[trial] = str(run.info.run_id), published

    def _publish(self, trial: str, records: list[Record]) -> None:
        from mlflow.entities import Metric

        self._open(trial)
        published = self._published[trial]
        fresh = [r for r in records if (r.epoch, r.final) not in published]
        for part in _batches(fresh):
            metrics = [
                Metric(name, value, int(record.time * 1000), record.epoch)
                for record in part
                for name, value in record.metrics.items()
            ]
            self.runs.client.log_batch(self.run_ids[trial], metrics)
            published.update((r.epoch, r.final) for r in part)

    def _send(self, outcome: Outcome) -> None:
        """Everything that a trial left."""
        self._open(outcome.trial)
        run = self.runs.find(outcome.trial)
        assert run is not None
        if outcome.folder is not None:
            log_folder(artifacts_of(self.runs.client, run), outcome.folder)
        if outcome.traceback or outcome.trial in self._reopened:
            log_traceback(self.runs.client, run, outcome.traceback)

    def _send_report(self, trial: str, folder: Path, report: bool, model: bool) -> None:
        """The tags come last: what they say is there. The run of a trial that an earlier process ended stays ended."""
        from mlflow.entities import RunTag

        if (run := self.runs.find(trial)) is None:
            self._open(trial)
            run = self.runs.find(trial)
        assert run is not None
        run_id, client = str(run.info.run_id), self.runs.client
        tags: dict[str, str] = {}
        if report and (folder / REPORT_FILE).is_file():
            log_report(artifacts_of(client, run), folder)
            link = f"#/experiments/{self.runs.experiment_id}/runs/{run_id}/artifacts/{REPORT_FILE}"
            tags |= {REPORT: MADE, NOTE: f"[**Open the report**]({link}): figures and tables on one page."}
        elif report:
            tags[REPORT] = CANNOT_BE_MADE
        if model and (folder / MODEL / MODEL_FILE).is_file():
            log_model(client, run_id, folder / MODEL)
            tags[MODEL] = MADE
        elif model:
            tags[MODEL] = CANNOT_BE_MADE
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _finish(self, outcome: Outcome) -> None:
        """How a trial ended: the last that is written of it, and only if all the rest has arrived."""
        from mlflow.entities import Metric, RunTag

        self._open(outcome.trial)
        run_id, client = self.run_ids[outcome.trial], self.runs.client
        records = TrialFolder(outcome.folder).records() if outcome.folder else []
        metrics = [
            Metric(name, value, int(records[-1].time * 1000), records[-1].epoch)  # the same when it is written again
            for name, value in keys.summary(records, self.runs.plan.experiment.target_accuracy).items()
            if records
        ]
        if outcome.trial in self._refused:  # its run is closed, and its end not told: so resuming delivers it again
            outcome = Outcome(outcome.trial, Status.STOPPED, REASON_REFUSED, outcome.folder)
        machine = TrialFolder(outcome.folder).facts().get("machine", {}) if outcome.folder else {}
        kind = {FAILURE: str(outcome.failure)} if outcome.failure else {}
        tags = shorten({STATUS: str(outcome.status), REASON: outcome.reason, **kind, **machine})
        client.log_batch(run_id, metrics, tags=[RunTag(name, value) for name, value in tags.items()])
        client.set_terminated(run_id, MLFLOW_STATUS[outcome.status])

    def _end_launch(self, status: Status, reason: str) -> None:
        client, parent = self.runs.client, self.runs.parent_run_id
        client.set_tag(parent, STATUS, str(status))
        client.set_tag(parent, REASON, reason)
        client.set_terminated(parent, MLFLOW_STATUS[status])


def _opened(runs: LaunchRuns) -> "Future[LaunchRuns]":
    done: Future[LaunchRuns] = Future()
    done.set_result(runs)
    return done


def _batches(records: list[Record]) -> Iterator[list[Record]]:
    """Records in calls that MLflow takes; none is cut in two, so that a published one is published whole."""
    part: list[Record] = []
    for record in records:
        if part and sum(len(r.metrics) for r in [*part, record]) > MOST_METRICS:
            yield part
            part = []
        part.append(record)
    if part:
        yield part


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
