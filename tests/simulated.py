"""A launch without training: trials with given curves and paces in so many slots, judged by the rule of ASHA."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.scheduling.asha_log import Decision
from orchestrator.scheduling.asha_rule import Rungs
from orchestrator.spec import Scheduler


def simulate(
    rungs: Rungs, curves: Mapping[str, Sequence[float]], seconds: Mapping[str, float], slots: int
) -> list[tuple[str, int, float]]:
    """Every result (trial, epoch, value) in the order in which it comes, if an epoch takes the trial's ``seconds``."""
    waiting, results = list(curves), []
    clock = [(seconds[name], name, 1) for name in waiting[:slots]]
    del waiting[:slots]
    heapq.heapify(clock)
    while clock:
        now, name, epoch = heapq.heappop(clock)
        results.append((name, epoch, curves[name][epoch - 1]))
        stop, _ = rungs.judge(*results[-1])
        if not stop and epoch < len(curves[name]):
            heapq.heappush(clock, (now + seconds[name], name, epoch + 1))
        elif waiting:
            following = waiting.pop(0)
            heapq.heappush(clock, (now + seconds[following], following, 1))
    return results


def decided(settings: Scheduler, epochs: int, results: Iterable[tuple[str, int, float]]) -> list[Decision]:
    """What an undisturbed launch decides if results come in this order."""
    rungs = Rungs(settings, epochs)
    decisions = (rungs.judge(*result)[1] for result in results)
    return [decision for decision in decisions if decision is not None]
