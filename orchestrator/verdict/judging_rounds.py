"""The verdict on a launch in rounds: the decisions made on the way, with intervals that hold at every look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from orchestrator.verdict import images, ranks
from orchestrator.verdict.comparing import NO_SPREAD, TOO_FEW_SEEDS, Seeds, around, score
from orchestrator.verdict.images import Right
from orchestrator.verdict.planning import LEAST_SEEDS
from orchestrator.verdict.result import Decision, Pair, Verdict
from orchestrator.verdict.rounds import ABOVE_ZERO, Course, Match, Plan, bounds, replay
from orchestrator.verdict.spending import critical_value
from orchestrator.verdict.student import StandardError


def judge_rounds(
    scores: Mapping[str, Seeds], seeds: Sequence[Any], plan: Plan, right: Mapping[tuple[str, Any], Right]
) -> Verdict:
    """The verdict without its sentence: variants that are worse than another one last, the others by their mean."""
    course = replay(scores, seeds, plan)

    def at_every_look(n: int, _: StandardError) -> float:
        return critical_value(n, plan.max_seeds, plan.alpha)

    scored = (score(name, used, course.grid, at_every_look) for name, used in course.used.items())
    variants = [replace(one, seeds=tuple(course.used[one.variant])) for one in scored]
    variants.sort(key=lambda one: (one.mean is None, one.variant in course.beaten, -(one.mean or 0.0)))
    measured = [one.variant for one in variants if one.n]
    behind = _behind(course)
    pairs = []
    for two in combinations(measured, 2):
        match = course.matches.get(two) or course.matches.get((two[1], two[0]))
        if match is not None and match.n:
            pairs.append(_pair(course, match, behind, two[0], right))
    leaders = [name for name in measured if name not in course.beaten] or measured[:1]
    return Verdict(
        variants=tuple(variants),
        pairs=tuple(pairs),
        leaders=tuple(leaders),
        margin=plan.margin,
        baseline=plan.baseline,
        rounds=course.rounds,
        max_seeds=plan.max_seeds,
    )


def _behind(course: Course) -> dict[str, set[str]]:
    """By variant, all that are shown to be worse than it, or than one that is shown to be worse than it."""
    worse: dict[str, set[str]] = {variant: set() for variant in course.used}
    for match in course.matches.values():
        if match.winner is not None:
            worse[match.winner].add(match.other(match.winner))
    for _ in worse:
        worse = {variant: mine.union(*(worse[other] for other in mine)) for variant, mine in worse.items()}
    return worse


def _pair(
    course: Course,
    match: Match,
    behind: Mapping[str, set[str]],
    ahead: str,
    right: Mapping[tuple[str, Any], Right],
) -> Pair:
    """The pair with its intervals; of equal means, ``ahead`` comes first."""
    plan, alpha = course.plan, course.plan.alpha / len(course.matches)
    higher = ahead if match.difference == 0 else match.first if match.difference > 0 else match.second
    a, b = match.winner or higher, match.other(match.winner or higher)
    told_apart = match.winner is not None or (match.error is not None and b in behind[a] and match.difference != 0)
    seeds = [seed for seed in course.used[a] if seed in course.used[b]]
    apart = [course.used[a][seed] - course.used[b][seed] for seed in seeds]
    low, high = bounds(course, match)
    if low is not None and told_apart:
        low = max(low, ABOVE_ZERO)
    other_images = _other_images(course, (a, b), seeds, right, match.level or alpha)
    both = match.half_width(plan, match.level or alpha)
    low_both, high_both = around(abs(match.difference), both and other_images and math.hypot(both, other_images))
    if low_both is not None and match.winner is None:
        low_both = min(low_both, 0.0)
    low_new_images, high_new_images = around(abs(match.difference), other_images)
    few = TOO_FEW_SEEDS if match.n < LEAST_SEEDS else None
    return Pair(
        a=a,
        b=b,
        n=match.n,
        difference=abs(match.difference),
        paired=True,
        decision=_decision(told_apart, match.within),
        low=low,
        high=high,
        p_a_beats_b=ranks.wins(apart),
        low_new_images=low_new_images,
        high_new_images=high_new_images,
        low_both=low_both,
        high_both=high_both,
        reason=few or (NO_SPREAD if match.error is None else None),
    )


def _decision(better: bool, within: bool) -> Decision:
    if better:
        return Decision.SLIGHTLY_BETTER if within else Decision.BETTER
    return Decision.EQUIVALENT if within else Decision.UNDECIDED


def _other_images(
    course: Course, two: tuple[str, str], seeds: Sequence[Any], right: Mapping[tuple[str, Any], Right], alpha: float
) -> float | None:
    """Half the width of the interval for other test images, of the seeds that both have; None if some are unknown."""
    proportions = images.mean_over_seeds(
        {name: {seed: course.used[name][seed] for seed in seeds} for name in two}, right
    )
    return images.half_width(proportions[two[0]], proportions[two[1]], alpha) if len(proportions) == 2 else None
