"""Ending a launch early: the first signal drains it, the second stops it at once, as does a storage that fails."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ray.tune import Stopper
from ray.tune.schedulers import TrialScheduler

from orchestrator.errors import DiskFullError, StorageError

T = TypeVar("T")
RUNNING = "RUNNING"  # Tune's word for a trial that has a worker
SIGNALS = (signal.SIGINT, signal.SIGTERM)
FREE_SPACE = "remove old launches or their checkpoints"  # what to do when there is none


class Drain(Stopper):  # type: ignore[misc]
    """Lets every trial that is training finish its epoch, starts no other, and then ends the launch.

    Schedulers ask :meth:`decide` after their own decision, so that a drained trial's epoch has been judged. ``log``
    gets the reason why a launch ends for want of its storage.
    """

    def __init__(self, log: Callable[[str], None] = lambda _: None) -> None:
        self.log = log
        self.requested = False
        self.without_storage = False  # whether the launch's storage failed on the way
        self.drained: set[str] = set()  # names of trials that ended at an epoch's end because of this
        self._busy: set[str] | None = None  # names of trials that we still wait for

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it is given into its snapshots; ours logs to a terminal and is never restored."""
        return {}

    def decide(self, trial: str, action: str) -> str:
        """The scheduler's ``action`` for ``trial``, or STOP if the launch is being drained."""
        if self.requested and action == TrialScheduler.CONTINUE:
            self.drained.add(trial)
            return str(TrialScheduler.STOP)
        return action

    def stop(self) -> None:
        """End the launch now, without waiting for the epochs in progress."""
        self.requested, self._busy = True, set()

    def end_without_storage(self, what: str, advice: str = "mend it") -> None:
        """Nothing can be kept any more: the launch ends with what it has, to be resumed when it can."""
        self.without_storage = True
        if not self.requested:
            self.log(f"{what}: the launch ends, every trial keeps its last checkpoint; {advice}, then resume")
        self.stop()

    def unless_storage_fails(self, folder: Path, action: Callable[[], T]) -> T | None:
        """What ``action`` returns; None if it failed for want of the launch's ``folder``: the launch ends then."""
        try:
            return action()
        except DiskFullError:
            self.end_without_storage(f"no space left in {folder}", FREE_SPACE)
        except (StorageError, OSError) as problem:
            self.end_without_storage(str(problem))
        return None

    def watch(self, trials: Sequence[Any]) -> None:
        """To be called at every step of Tune with all of its trials."""
        if not self.requested:
            return
        running = {trial.config["trial"]["name"] for trial in trials if trial.status == RUNNING}
        self._busy = (running if self._busy is None else self._busy & running) - self.drained

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune asks whether this one trial is to end: schedulers decide that."""
        return False

    def stop_all(self) -> bool:
        """Tune asks whether everything is to end."""
        return self.requested and self._busy is not None and not self._busy


@contextmanager
def signals_drain(drain: Drain, log: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, SIGINT and SIGTERM drain the launch; the second one ends it at once, without a loss."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if not drain.requested:
            drain.requested = True
            log("ending: the epochs in progress are finished first; once more (Ctrl-C) stops at once")
        else:
            restore()
            drain.stop()
            if callable(signal.getsignal(signal.SIGUSR1)):  # Tune listens; before that, it would end this process
                os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own signal for: end now
            log("stopping at once")

    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
