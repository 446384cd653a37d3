"""The median stopping rule: a trial that has never been as good as the others were on average is stopped."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.scheduling.decisions import Decision
from orchestrator.scheduling.stop_rules.names import competitors
from orchestrator.spec import Scheduler


@dataclass
class _Told:
    """What has been told of one trial."""

    epoch: int = 0  # the last one
    best: float = float("-inf")
    total: float = 0.0  # of the epochs from grace_period on, as the next
    count: int = 0

    @property
    def mean(self) -> float:
        """The running mean. Rounding lifts no mean above the best: equal trials do not stop one another."""
        return min(self.total / self.count, self.best)


class Median:
    """The median stopping rule (Golovin et al., "Google Vizier: A Service for Black-Box Optimization", 2017).

    A trial at epoch t, from ``grace_period`` on, is stopped if its best value so far is below the median of the running
    means of the other trials of its variant that have been at t. A running mean is over the epochs from
    ``grace_period`` to t, as Ray's. With fewer than ``min_samples`` others nobody is stopped.
    """

    def __init__(self, settings: Scheduler, epochs: int, past: Iterable[Decision] = ()) -> None:
        self._grace, self._fewest, self._epochs = settings.grace_period, settings.min_samples, epochs
        self._told: defaultdict[str, _Told] = defaultdict(_Told)  # by trial name
        self._means: defaultdict[tuple[str, int], list[float]] = defaultdict(list)  # by variant and epoch, ascending
        self._stopped: dict[str, int] = {}  # name of a trial to the epoch at which it was stopped
        for decision in past:
            if self._is_new(decision.name, decision.epoch):
                self._keep(decision)

    def judge(self, name: str, epoch: int, value: float) -> tuple[bool, Decision | None]:
        """Whether trial ``name`` ends at ``epoch``, and the decision if it has been made just now.

        Epochs before ``grace_period`` are decisions as well: the best value needs them after a restart.
        """
        if not self._is_new(name, epoch):
            return epoch >= self._stopped.get(name, epoch + 1), None
        stop = False
        if epoch >= self._grace:
            others = self._means[competitors(name), epoch]  # a trial is among them when it has been judged
            stop = len(others) >= self._fewest and max(self._told[name].best, value) < _median(others)
        decision = Decision(name, epoch, value, stop)
        self._keep(decision)
        return stop, decision

    def count(self, name: str, epoch: int, value: float) -> Decision | None:
        """Count the result of a trial that has ended by itself, as one that went on; None if it was counted before."""
        if not self._is_new(name, epoch):
            return None
        decision = Decision(name, epoch, value, False)
        self._keep(decision)
        return decision

    def _is_new(self, name: str, epoch: int) -> bool:
        """Whether the result is yet to be counted. The last epoch is not: nobody is judged there."""
        return name not in self._stopped and self._told[name].epoch < epoch < self._epochs

    def _keep(self, decision: Decision) -> None:
        told, variant = self._told[decision.name], competitors(decision.name)
        for untold in range(max(self._grace, told.epoch + 1), decision.epoch) if told.count else ():
            insort(self._means[variant, untold], told.mean)  # it has been there, although nobody said so
        told.epoch, told.best = decision.epoch, max(told.best, decision.value)
        if decision.epoch >= self._grace:
            told.total, told.count = told.total + decision.value, told.count + 1
            insort(self._means[variant, decision.epoch], told.mean)
        if decision.stopped:
            self._stopped[decision.name] = decision.epoch


def _median(ascending: Sequence[float]) -> float:
    half, odd = divmod(len(ascending), 2)
    return ascending[half] if odd else (ascending[half - 1] + ascending[half]) / 2
