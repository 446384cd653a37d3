"""Choose the stop rule of an experiment by the name of its scheduler."""

from collections.abc import Iterable
from typing import Protocol

from orchestrator.scheduling.decisions import Decision
from orchestrator.scheduling.stop_rules.halving import Halving, rung_epochs
from orchestrator.scheduling.stop_rules.median import Median
from orchestrator.spec import Scheduler


class StopRule(Protocol):
    """Who is stopped, by results of validation that are told one after another; more is better.

    A decision stands for ever, whoever asks again. A new rule that is given all decisions of an earlier one decides as
    that one would have.
    """

    def judge(self, name: str, epoch: int, value: float) -> tuple[bool, Decision | None]:
        """Whether trial ``name`` ends at ``epoch``, and the decision if it has been made just now."""

    def count(self, name: str, epoch: int, value: float) -> Decision | None:
        """Count the result of a trial that has ended by itself, as one that went on; None if it was counted before."""


def stop_rule(settings: Scheduler, epochs: int, past: Iterable[Decision] = ()) -> StopRule | None:
    """The rule for trials of ``epochs`` epochs, after the decisions ``past``; None for fifo, which stops nobody.

    Each call of the rule takes O(log n) comparisons for n trials.
    """
    if settings.name == "fifo":
        return None
    if settings.name == "median":
        return Median(settings, epochs, past)
    return Halving(settings, epochs, past)


def judged_epochs(settings: Scheduler, epochs: int) -> list[int]:
    """The epochs after which a trial may be stopped; none where nobody is. After the last one nobody is."""
    if settings.name == "fifo":
        return []
    if settings.name == "median":
        return list(range(settings.grace_period, epochs))
    return rung_epochs(settings, epochs)
