"""The rule of asynchronous successive halving (ASHA): who is stopped at which epoch."""

from collections.abc import Iterable

import numpy as np

from orchestrator.scheduling.asha_log import Decision
from orchestrator.spec import Scheduler


class Rungs:
    """The rule of ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020).

    Rungs stand at ``grace_period * reduction_factor ** k`` below ``epochs``. A trial that comes to a rung is stopped if
    it is below the best 1 / ``reduction_factor`` of those that came before it. The last epoch is no rung: who gets
    there is measured. Each trial is judged once at each rung, and a decision stands for ever.
    """

    def __init__(self, settings: Scheduler, epochs: int, past: Iterable[Decision] = ()) -> None:
        self._factor = settings.reduction_factor
        self._rungs: dict[int, dict[str, float]] = {}  # epoch of the rung to the values of the trials judged there
        for epoch in rung_epochs(settings, epochs):
            self._rungs[epoch] = {}
        self._stopped: dict[str, int] = {}  # name of a trial to the epoch at which it was stopped
        for decision in past:
            rung = self._open(decision.name, decision.epoch)
            if rung is not None:
                self._keep(rung, decision)

    def judge(self, name: str, epoch: int, value: float) -> tuple[bool, Decision | None]:
        """Whether trial ``name`` ends at ``epoch``, and the decision if it has been made just now.

        A trial whose result at a rung was never told is judged by its next result.
        """
        rung = self._open(name, epoch)
        if rung is None:
            return epoch >= self._stopped.get(name, epoch + 1), None
        earlier = list(self._rungs[rung].values())
        stop = bool(earlier) and value < float(np.percentile(earlier, (1 - 1 / self._factor) * 100))
        decision = Decision(name, epoch, value, stop)
        self._keep(rung, decision)
        return stop, decision

    def count(self, name: str, epoch: int, value: float) -> Decision | None:
        """Count the result of a trial that has ended by itself, as one that went on; None if it was counted before."""
        rung = self._open(name, epoch)
        if rung is None:
            return None
        decision = Decision(name, epoch, value, False)
        self._keep(rung, decision)
        return decision

    def _open(self, name: str, epoch: int) -> int | None:
        """The rung at which ``name`` is yet to be judged; None if there is none, or a later one has been passed."""
        reached = max((rung for rung in self._rungs if rung <= epoch), default=None)
        if reached is None or name in self._stopped:
            return None
        passed = any(name in judged for rung, judged in self._rungs.items() if rung >= reached)
        return None if passed else reached

    def _keep(self, rung: int, decision: Decision) -> None:
        self._rungs[rung][decision.name] = decision.value
        if decision.stopped:
            self._stopped[decision.name] = decision.epoch


def rung_epochs(settings: Scheduler, epochs: int) -> list[int]:
    """The epochs after which a trial may be stopped; none where nobody is."""
    if settings.name == "fifo":
        return []
    found, epoch = [], settings.grace_period
    while epoch < epochs:
        found.append(epoch)
        epoch *= settings.reduction_factor
    return found
