"""From Tune's events to our listeners: records and outcomes, and the folders of ended trials, collected."""

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.errors import StorageError
from orchestrator.files import FULL, storage_named, sync, sync_folder, write_folder
from orchestrator.records import EPOCH, Failure, Listener, Outcome, Record, Status
from orchestrator.redact import redact
from orchestrator.scheduling.checkpoints import directory_name, list_checkpoints, newest_intact
from orchestrator.scheduling.drain import FREE_SPACE, Drain
from orchestrator.scheduling.storage import FOLDERS, Storage
from orchestrator.scheduling.worker import FAILURE, KIND, RECORDS
from orchestrator.spec import TrialSpec
from orchestrator.text import first_line, last_line
from orchestrator.trial import TrialFolder

_FAILURE = re.compile(r"^Failure # \d+ \(occurred at .*\)$", re.MULTILINE)  # Tune's headline of each failure


class LaunchCallback(tune.Callback):  # type: ignore[misc]
    """Tells listeners, on the driver, what happens to each trial.

    Folders of ended trials go to ``trials_folder/<trial name>``. A failure of a kind in ``retried`` is not reported
    yet: the launch resumes the trial.
    """

    def __init__(
        self,
        trials_folder: Path,
        listeners: Sequence[Listener],
        drain: Drain,
        storage: Storage = FOLDERS,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.trials_folder = trials_folder
        self.listeners = tuple(listeners)
        self.drain = drain
        self.storage = storage
        self.ended = ended
        self.retried: frozenset[Failure] = frozenset()
        self.attempt = trials_folder.parent  # Ray's folder, in which trials keep their checkpoints
        self.started: set[str] = set()
        self.reported: dict[str, int] = {}  # trial name to the last epoch that listeners were told of
        self.outcomes: dict[str, Outcome] = {}
        self._thread = ThreadPoolExecutor(1, "collect-trials")
        self._pending: deque[Future[Outcome]] = deque()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks into its snapshots; ours have threads and are never restored."""
        return {"trials_folder": self.trials_folder, "listeners": (), "started": set(), "outcomes": {}}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """A turn of Tune's own loop."""
        self.deliver_outcomes()
        if self.ended() and not self.drain.requested:
            self.drain.stop()
        self.drain.watch(trials)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has been given the trial; after a failure this comes again."""
        config = trial.config["trial"]
        name = config["name"]
        if name not in self.started:
            self.started.add(name)
            epoch = self._first_epoch(config["resume_from"])
            for listener in self.listeners:
                listener.on_start(name, epoch)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """The records of one step."""
        for entry in result.get(RECORDS, ()):
            record, name = Record.from_json(entry), trial.config["trial"]["name"]
            if not record.final and record.epoch <= self.reported.get(name, 0):
                continue  # trained or reported once more, after its worker was lost
            self.reported[name] = record.epoch
            for listener in self.listeners:
                listener.on_record(name, record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial said done, or the scheduler stopped it."""
        result = trial.last_result or {}
        if trial.config["trial"]["name"] in self.drain.drained:
            return  # it did not end: interrupt() tells
        if not trial.should_recover():
            return  # on_trial_recover has reported it
        if FAILURE in result:
            self._end(trial, Status.FAILED, str(result[FAILURE]), Failure(result[KIND]))
        elif any(entry["final"] for entry in result.get(RECORDS, ())):
            self._end(trial, Status.COMPLETE, "")
        else:
            epoch = result.get(EPOCH, 0)
            self._end(trial, Status.STOPPED, f"stopped by the scheduler after epoch {epoch}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial failed outside its own code, and Tune is about to take it up again."""
        if self._storage_full(_error(trial)):
            self.drain.end_without_storage(f"no space left in {self.trials_folder.parent}", FREE_SPACE)
        elif _lacks_memory(_error(trial)):  # the same share would lack it again: the launch gives it a larger one
            trial.max_failures = 0  # schedulers end what Tune may not take up again
            self.on_trial_error(iteration, trials, trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker was lost more often than is allowed, or Ray ended it for its memory."""
        error = _error(trial)
        if _lacks_memory(error):
            reason, kind = f"its worker was ended: {first_line(error)}", Failure.OUT_OF_MEMORY
        else:
            reason, kind = f"its worker was lost: {last_line(error)}", Failure.INFRASTRUCTURE
        self._end(trial, Status.FAILED, reason, kind, lost=True)

    def ended_for_good(self) -> dict[str, Outcome]:
        """How trials ended that neither are resumed later nor tried again now."""
        kept = ((name, outcome) for name, outcome in self.outcomes.items() if outcome.status is not Status.INTERRUPTED)
        return {name: outcome for name, outcome in kept if outcome.failure not in self.retried}

    def interrupt(self, trials: Iterable[str]) -> None:
        """The launch has been ended from outside: each of ``trials`` that has not ended is interrupted."""
        for name in trials:
            if name not in self.outcomes:
                self.outcomes[name] = Outcome(name, Status.INTERRUPTED)
                for listener in self.listeners if name in self.started else ():
                    listener.on_end(self.outcomes[name])

    def deliver_outcomes(self, wait: bool = False) -> None:
        """Report the trials that have been collected since, in the order of their ends; ``wait`` for all of them."""
        while self._pending and (wait or self._pending[0].done()):
            outcome = self.drain.unless_storage_fails(self.trials_folder.parent, self._pending.popleft().result)
            if outcome is None:
                continue  # it is interrupted, and collected when the launch is resumed
            self.outcomes[outcome.trial] = outcome
            for listener in self.listeners if outcome.failure not in self.retried else ():
                listener.on_end(outcome)

    def close(self) -> None:
        """Nothing comes any more."""
        self._thread.shutdown()

    def _storage_full(self, error: str) -> bool:
        """Whether a worker has found no space in the launch's folder, rather than on a disk of its node's own."""
        full = any(os.strerror(number) in error for number in FULL)
        return full and self.storage.uri is None and str(self.trials_folder.parent.resolve()) in error

    def _first_epoch(self, resume_from: str | None) -> int:
        """The epoch after those in the folder that a trial resumes from; 1 without one, or if it cannot be read."""
        if resume_from is None:
            return 1
        with suppress(StorageError):  # the worker says what is wrong with it
            records = TrialFolder(self.storage.root / resume_from).records()
            return 1 + max((record.epoch for record in records), default=0)
        return 1

    def _end(self, trial: Any, status: Status, reason: str, failure: Failure | None = None, lost: bool = False) -> None:
        """Have the trial's folder collected, beside Tune's loop; ``lost``: nobody said what its worker kept last."""
        config = trial.config["trial"]
        outcome = Outcome(config["name"], status, redact(reason), failure=failure)
        place = self.attempt / directory_name(outcome.trial)
        self._pending.append(self._thread.submit(self._collect, place, config, outcome, lost))

    def _collect(self, place: Path, config: Mapping[str, Any], outcome: Outcome, lost: bool) -> Outcome:
        folder = self.trials_folder / outcome.trial
        with storage_named(folder):
            found = next(iter(candidates := list_checkpoints(place, self.storage)), None)
            # A lost one, before its first checkpoint here, keeps what it was resumed from.
            if lost and (earlier := config["resume_from"]):
                candidates.append(self.storage.root / earlier)
            if lost and candidates:
                found = newest_intact(candidates, TrialSpec.from_json(json.loads(config["spec"])), self.storage)
            if found is not None and found.resolve() == folder.resolve():
                found = None  # it lies there
            self.storage.fetch(found or folder)
            outcome = collect_trial(found, folder, outcome, config["measure"])
            self.storage.push(folder)
        return outcome


def collect_trial(checkpoint: Path | None, folder: Path, outcome: Outcome, measure: bool = False) -> Outcome:
    """Move a trial's last checkpoint to ``folder``, whole or not at all, and write there how the trial ended.

    A trial that is complete stays complete, whatever has happened to its worker since; but if it was to ``measure`` it
    and has not, ``outcome`` is returned, while the folder stays as it is, to be evaluated later. Without a checkpoint,
    the traceback of an earlier attempt is not that of ``outcome``.
    """
    if checkpoint is not None and not _moved(checkpoint, folder):
        write_folder(folder, TrialFolder(checkpoint).copy_to)
        sync_folder(folder)
    if not (folder / "spec.json").exists():
        return outcome
    trial = TrialFolder(folder)
    before = trial.outcome()
    if before is not None and before.status is Status.COMPLETE:
        return before if not measure or trial.is_measured() else replace(outcome, folder=folder)
    traceback = before.traceback if before is not None and checkpoint is not None else ""
    ended = replace(outcome, folder=folder, traceback=traceback)
    if before != ended:
        trial.finish(ended.status, ended.reason, ended.traceback, ended.failure)
    return ended


def _moved(checkpoint: Path, folder: Path) -> bool:
    """Move a checkpoint in one step, where nothing is in its place yet."""
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        checkpoint.rename(folder)
    except OSError:  # it lies on another file system
        return False
    sync(folder.parent)  # its files have been synced by the worker
    return True


def _error(trial: Any) -> str:
    """What Tune wrote of the trial's last failure; on the driver, since the storage may be what failed."""
    try:
        written = Path(trial.error_file).read_text(encoding="utf-8")  # Tune appends each failure to those before
    except (OSError, TypeError):
        return "unknown"
    return _FAILURE.split(written)[-1].strip() or "unknown"


def _lacks_memory(error: str) -> bool:
    """Whether Ray's memory monitor has ended the worker, or the worker itself said that memory was lacking."""
    return "OutOfMemory" in error
