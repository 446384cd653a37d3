"""A launch without training: trials with given curves and paces in so many slots, judged by a stop rule."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.scheduling.decisions import Decision
from orchestrator.scheduling.stop_rules import StopRule, stop_rule
from orchestrator.spec import Scheduler


def rule_of(settings: Scheduler, epochs: int, past: Iterable[Decision] = ()) -> StopRule:
    """The rule of a scheduler that stops trials."""
    rule = stop_rule(settings, epochs, past)
    assert rule is not None
    return rule


def simulate(
    rule: StopRule, curves: Mapping[str, Sequence[float]], seconds: Mapping[str, float], slots: int
) -> list[tuple[str, int, float]]:
    """Every result (trial, epoch, value) in the order in which it comes, if an epoch takes the trial's ``seconds``."""
    waiting, results = list(curves), []
    clock = [(seconds[name], name, 1) for name in waiting[:slots]]
    del waiting[:slots]
    waiting.reverse()
    heapq.heapify(clock)
    while clock:
        now, name, epoch = heapq.heappop(clock)
        results.append((name, epoch, curves[name][epoch - 1]))
        stop, _ = rule.judge(*results[-1])
        if not stop and epoch < len(curves[name]):
            heapq.heappush(clock, (now + seconds[name], name, epoch + 1))
        elif waiting:
            following = waiting.pop()
            heapq.heappush(clock, (now + seconds[following], following, 1))
    return results


def decided(settings: Scheduler, epochs: int, results: Iterable[tuple[str, int, float]]) -> list[Decision]:
    """What an undisturbed launch decides if results come in this order."""
    rule = rule_of(settings, epochs)
    decisions = (rule.judge(*result)[1] for result in results)
    return [decision for decision in decisions if decision is not None]
