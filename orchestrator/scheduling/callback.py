"""From Tune's events to our listeners: records and outcomes, and the finished trial's folder brought home."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.records import EPOCH, INTERRUPTED, Listener, Outcome, Record, Status
from orchestrator.scheduling.worker import FAILURE, RECORDS
from orchestrator.trial import TrialFolder


class Messenger(tune.Callback):  # type: ignore[misc]
    """Tells listeners, on the driver, what happens to each trial.

    ``home`` is where finished trial folders go: ``home/<trial name>``.
    """

    def __init__(self, home: Path, listeners: Sequence[Listener]) -> None:
        self.home = home
        self.listeners = tuple(listeners)
        self.started: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles callbacks into its snapshots; ours have threads and are never restored."""
        return {"home": self.home, "listeners": (), "started": set(), "outcomes": {}}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has been given the trial; after a failure this comes again."""
        name = trial.config["trial"]["name"]
        if name not in self.started:
            self.started.add(name)
            for listener in self.listeners:
                listener.on_start(name)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """The records of one step."""
        for plain in result.get(RECORDS, ()):
            record = Record.from_json(plain)
            for listener in self.listeners:
                listener.on_record(trial.config["trial"]["name"], record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial said done, or the scheduler stopped it."""
        result = trial.last_result or {}
        if FAILURE in result:
            self._end(trial, Status.FAILED, str(result[FAILURE]))
        elif any(plain["final"] for plain in result.get(RECORDS, ())):
            self._end(trial, Status.COMPLETE, "")
        else:
            epoch = result.get(EPOCH, 0)
            self._end(trial, Status.STOPPED, f"stopped by the scheduler after epoch {epoch}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker was lost more often than is allowed."""
        self._end(trial, Status.FAILED, f"its worker was lost: {_last_line(trial.get_error())}")

    def interrupt(self, trials: Iterable[str]) -> None:
        """The launch has been ended from outside: every one of ``trials`` that has not ended is stopped."""
        for name in trials:
            if name not in self.outcomes:
                self.outcomes[name] = Outcome(name, Status.STOPPED, INTERRUPTED)
                for listener in self.listeners if name in self.started else ():
                    listener.on_end(self.outcomes[name])

    def _end(self, trial: Any, status: Status, reason: str) -> None:
        name = trial.config["trial"]["name"]
        folder = self.home / name
        if trial.checkpoint is not None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            trial.checkpoint.to_directory(str(folder))
        traceback = ""
        if (folder / "spec.json").exists():
            before = TrialFolder(folder).outcome()
            traceback = before.traceback if before else ""
            if before is None or before.status is not status:
                TrialFolder(folder).finish(status, reason, traceback)
        outcome = Outcome(name, status, reason, folder if folder.exists() else None, traceback)
        self.outcomes[name] = outcome
        for listener in self.listeners:
            listener.on_end(outcome)


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["unknown"])[-1]
