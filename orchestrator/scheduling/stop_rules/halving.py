"""Asynchronous successive halving (ASHA), and Hyperband, which is several of it with rungs that begin later."""

import hashlib
import math
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

from orchestrator.scheduling.decisions import Decision
from orchestrator.scheduling.stop_rules.names import competitors, draw
from orchestrator.spec import Scheduler


class Halving:
    """The rule of ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020).

    Rungs stand at ``grace_period * reduction_factor ** k`` below ``epochs``. A trial that comes to a rung is stopped if
    it is below the best 1 / ``reduction_factor`` of those of its variant that came before it. The last epoch is no
    rung: who gets there is measured. Each trial is judged once at each rung, and a decision stands for ever.

    Hyperband has ``brackets`` of these: bracket s lacks the first s rungs. Trials of one bracket compete.
    """

    def __init__(self, settings: Scheduler, epochs: int, past: Iterable[Decision] = ()) -> None:
        self._quantile = 1 - 1 / settings.reduction_factor
        self._ladders = ladders(settings, epochs)
        self._ends = list(accumulate(bracket_shares(settings, epochs)))  # of the brackets' parts of [0, 1]
        self._brackets: dict[str, int] = {}  # of each trial
        self._values: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)  # sorted, see _judged_at
        self._passed: dict[str, int] = {}  # name of a trial to the last rung at which it was judged
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
        earlier = self._judged_at(name, rung)
        stop = bool(earlier) and value < quantile(earlier, self._quantile)
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
        ladder = self._ladders[self._bracket(name)]
        reached = bisect_right(ladder, epoch)
        if not reached or name in self._stopped:
            return None
        rung = ladder[reached - 1]
        return None if self._passed.get(name, 0) >= rung else rung

    def _judged_at(self, name: str, rung: int) -> list[float]:
        """The values of those who were judged at ``rung`` and compete with ``name``, in ascending order."""
        return self._values[competitors(name), self._bracket(name), rung]

    def _keep(self, rung: int, decision: Decision) -> None:
        insort(self._judged_at(decision.name, rung), decision.value)
        self._passed[decision.name] = rung
        if decision.stopped:
            self._stopped[decision.name] = decision.epoch

    def _bracket(self, name: str) -> int:
        """The trial's bracket: by a hash of its draw, so that it depends on no order, and variants have the same."""
        if name not in self._brackets:
            digest = hashlib.sha256(draw(name).encode()).digest()
            place = int.from_bytes(digest[:6]) / 2**48  # uniform in [0, 1)
            self._brackets[name] = min(bisect_right(self._ends, place), len(self._ends) - 1)
        return self._brackets[name]


def rung_epochs(settings: Scheduler, epochs: int) -> list[int]:
    """The epochs of all rungs, in ascending order."""
    found, epoch = [], settings.grace_period
    while epoch < epochs:
        found.append(epoch)
        epoch *= settings.reduction_factor
    return found


def ladders(settings: Scheduler, epochs: int) -> list[list[int]]:
    """The rungs of each bracket. The last possible bracket has none: its trials are trained to their end."""
    rungs = rung_epochs(settings, epochs)
    brackets = min(settings.brackets, len(rungs) + 1) if settings.name == "hyperband" else 1
    return [rungs[first:] for first in range(brackets)]


def bracket_shares(settings: Scheduler, epochs: int) -> list[float]:
    """Which part of the trials each bracket gets; the sum is 1.

    A bracket of k rungs gets a part in proportion to ``reduction_factor ** k / (k + 1)``, the number of configurations
    that Hyperband gives it (Li et al., "Hyperband", 2018, Algorithm 1): every bracket then costs about the same. Ray
    draws brackets at random in proportion to ``e ** k``.
    """
    weights = [settings.reduction_factor ** len(rungs) / (len(rungs) + 1) for rungs in ladders(settings, epochs)]
    return [weight / sum(weights) for weight in weights]


def quantile(ascending: Sequence[float], part: float) -> float:
    """The quantile ``part`` of values in ascending order, linear in between; to the bit that of numpy."""
    position = (len(ascending) - 1) * part
    before = math.floor(position)
    low, high = ascending[before], ascending[min(before + 1, len(ascending) - 1)]
    weight = position - before
    return low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight)
