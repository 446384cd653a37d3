"""Ending a launch from outside: the first signal drains it, the second stops it at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray.tune import Stopper
from ray.tune.schedulers import TrialScheduler

RUNNING = "RUNNING"  # Tune's word for a trial that has a worker
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Drain(Stopper):  # type: ignore[misc]
    """Lets every trial that is training finish its epoch, starts no other, and then ends the launch.

    Schedulers ask :meth:`decide` after their own decision, so that a drained trial's epoch has been judged.
    """

    def __init__(self) -> None:
        self.requested = False
        self.drained: set[str] = set()  # names of trials that ended at an epoch's end because of this
        self._busy: set[str] | None = None  # names of trials that we still wait for

    def decide(self, trial: str, action: str) -> str:
        """The scheduler's ``action`` for ``trial``, or STOP if the launch is being drained."""
        if self.requested and action == TrialScheduler.CONTINUE:
            self.drained.add(trial)
            return str(TrialScheduler.STOP)
        return action

    def stop(self) -> None:
        """End the launch now, without waiting for the epochs in progress."""
        self.requested, self._busy = True, set()

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
