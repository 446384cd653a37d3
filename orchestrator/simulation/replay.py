"""Replay a launch in simulated time: so many workers, each epoch as long as its curve says, nothing trained."""

import heapq
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.files import unsynced
from orchestrator.records import TrialResult
from orchestrator.scheduling.decisions import Decision
from orchestrator.simulation.curves import Curve, Curves
from orchestrator.simulation.driver import Driver, is_last
from orchestrator.simulation.journal import Epoch, Journal
from orchestrator.spec import Experiment, Plan, TrialSpec
from orchestrator.spec.trial import SEARCH

T = TypeVar("T")


class KilledError(Exception):
    """The deciding process is gone, and all that it had in memory."""


class Kills:
    """Ends the deciding process whenever it passes a point whose number, from 1, is in ``at``."""

    def __init__(self, at: Collection[int] = ()) -> None:
        self._at = frozenset(at)
        self.passed = 0

    def __call__(self) -> None:
        """A point where the process may die: beside each write to disk, and before each answer to a worker."""
        self.passed += 1
        if self.passed in self._at:
            raise KilledError


@dataclass(frozen=True)
class Replayed:
    """A launch that has been replayed to its end."""

    plan: Plan  # as it has grown
    results: Mapping[str, TrialResult]  # by trial, in the order of their ends
    ended: Mapping[str, float]  # simulated seconds after the beginning, by trial
    decisions: tuple[Decision, ...]
    said: tuple[str, ...]  # what stages and rounds have decided, in words
    workers: int  # most trials that trained at the same time
    points: int  # at which the deciding process could have been killed
    restarts: int

    @property
    def seconds(self) -> float:
        """Simulated wall time of the launch."""
        return max(self.ended.values(), default=0.0)

    def equals(self, other: "Replayed") -> bool:
        """Whether all trials ended alike, at the same times and in the same order, by the same decisions."""
        return (
            self.plan.trials == other.plan.trials
            and list(self.results.items()) == list(other.results.items())
            and list(self.ended.items()) == list(other.ended.items())
            and (self.decisions, self.said) == (other.decisions, other.said)
        )


def replay(
    experiment: Experiment,
    curves: Curves,
    workers: int,
    folder: Path,
    kills: Collection[int] = (),
) -> Replayed:
    """Replay ``experiment`` on ``workers`` workers, with its logs in ``folder``, which is empty.

    The deciding process dies at each of the points ``kills``; the next one begins with what is on disk, in no time,
    while the workers go on. Raises ExperimentError if the experiment cannot be planned.
    """
    with unsynced():
        return _Workers(experiment, curves, workers, folder, Kills(kills)).run()


class _Workers:
    """The workers, their clock, and the deciding process in its present life."""

    def __init__(
        self,
        experiment: Experiment,
        curves: Curves,
        workers: int,
        folder: Path,
        kills: Kills,
    ) -> None:
        self._curves, self._kills = curves, kills
        self._free = min(workers, experiment.resources.max_concurrent_trials or workers)
        self._journal = Journal(folder, kills)
        self._begin_driver = partial(Driver, experiment, self._journal)
        self._running: dict[str, Curve] = {}  # and those that have ended
        self._clock: list[tuple[float, tuple[int, ...], int, TrialSpec]] = []  # when who has trained which epoch
        self._ended: dict[str, float] = {}
        self._most = 0  # trials at the same time
        self._restarts = 0
        self._driver = self._living()

    def run(self) -> Replayed:
        """Until no trial is left."""
        self._fill(0.0)
        while self._clock:
            now, place, epoch, spec = heapq.heappop(self._clock)
            if self._goes_on(spec, epoch):
                heapq.heappush(self._clock, (now + self._running[spec.name].seconds, place, epoch + 1, spec))
                continue
            self._ended[spec.name] = now
            self._free += 1
            self._fill(now)
        decisions = tuple(self._journal.decisions())
        driver = self._driver
        passed, restarts = self._kills.passed, self._restarts
        return Replayed(driver.plan, driver.results, self._ended, decisions, driver.said, self._most, passed, restarts)

    def _fill(self, now: float) -> None:
        """Give every free worker a trial, as long as there are any."""
        while self._free and (spec := self._asked(lambda driver: driver.next())) is not None:
            self._free -= 1
            self._running[spec.name] = self._curves.curve(spec)
            self._journal.record(Epoch(spec.name, 0, 0.0, 0.0))
            place = tuple(map(int, self._driver.plan.place(spec).split(".")))
            heapq.heappush(self._clock, (now + self._running[spec.name].seconds, place, 1, spec))
            self._most = max(self._most, len(self._clock))

    def _goes_on(self, spec: TrialSpec, epoch: int) -> bool:
        curve = self._running[spec.name]
        told = Epoch(spec.name, epoch, curve.seconds, curve.validation[epoch - 1])
        if is_last(spec, epoch, told.validation) and spec.stage != SEARCH:
            told = told._replace(test=curve.measured(epoch))
        self._journal.record(told)
        return self._asked(lambda driver: driver.report(told))

    def _asked(self, question: Callable[[Driver], T]) -> T:
        """The answer of the deciding process; if it dies meanwhile, that of the next one."""
        while True:
            with suppress(KilledError):
                self._kills()
                return question(self._driver)
            self._driver = self._living(again=True)

    def _living(self, again: bool = False) -> Driver:
        """A new deciding process, from what is on disk."""
        while True:
            self._restarts += again
            with suppress(KilledError):
                return self._begin_driver()
            again = True
