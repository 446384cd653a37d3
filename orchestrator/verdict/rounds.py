"""A comparison in rounds of one seed a variant, replayed: what is decided after each, and who gets another seed.

Everything is a function of the scores by seed and of the order of the rounds, so that a resumed launch decides as an
undisturbed one, and what a later round brings changes no earlier decision. docs/verdict.md has the guarantee.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Any

from orchestrator.verdict import rounding
from orchestrator.verdict.comparing import Seeds, around
from orchestrator.verdict.planning import LEAST_SEEDS
from orchestrator.verdict.spending import critical_value
from orchestrator.verdict.student import no_spread, standard_error

ABOVE_ZERO = sys.float_info.min  # a bound that excludes zero and says nothing more
LOST = 3  # rounds in a row without a score, after which a variant gets no more seeds


@dataclass(frozen=True)
class Plan:
    """What was fixed before the first round."""

    max_seeds: int
    alpha: float
    margin: float | None = None
    baseline: str | None = None


@dataclass(frozen=True)
class Match:
    """Two variants on the seeds that both have, after the last round in which both got one."""

    first: str
    second: str
    n: int = 0
    difference: float = 0.0  # first minus second
    error: float | None = None  # standard error; None: no spread, or too few seeds
    winner: str | None = None  # shown to be better
    level: float | None = None  # at which the winner was found; None: it follows from two other pairs
    within: bool = False  # the difference is shown to be smaller than the margin

    @property
    def loser(self) -> str | None:
        """The other one than the winner."""
        return None if self.winner is None else self.other(self.winner)

    @property
    def is_open(self) -> bool:
        """Whether nothing is decided."""
        return self.winner is None and not self.within

    def other(self, variant: str) -> str:
        """The variant that ``variant`` is compared with."""
        return self.second if variant == self.first else self.first

    def half_width(self, plan: Plan, alpha: float) -> float | None:
        """Half of the interval's width that holds at every look, with a probability of 1 - ``alpha``."""
        return None if self.error is None else critical_value(self.n, plan.max_seeds, alpha) * self.error


@dataclass
class Course:
    """The rounds up to now."""

    plan: Plan
    used: dict[str, dict[Any, float]]  # by variant and seed: the scores that took part
    matches: dict[tuple[str, str], Match]
    rounds: int = 0
    grid: float = 1.0  # the step of which all accuracies up to now are multiples; 0: none
    beaten: dict[str, Match] = field(default_factory=dict)  # by variant that is shown to be worse than another
    lost: set[str] = field(default_factory=set)  # variants whose last three rounds have no score
    missing: dict[str, int] = field(default_factory=dict)  # rounds in a row without a score

    @property
    def active(self) -> list[str]:
        """The variants that get another seed, if the comparison goes on; with a baseline, those not yet decided."""
        alive = [v for v in self.used if v not in self.lost]
        baseline = self.plan.baseline
        if baseline is None:
            return [v for v in alive if v not in self.beaten]
        if baseline in self.lost:
            return []
        undecided = {m.other(baseline) for m in self.matches.values() if m.is_open}
        return [v for v in alive if v in undecided or v == baseline]

    @property
    def is_decided(self) -> bool:
        """Whether no pair is left that another round could decide."""
        active = self.active
        return not any(m.is_open for m in self.matches.values() if m.first in active and m.second in active)


def replay(scores: Mapping[str, Seeds], seeds: Sequence[Any], plan: Plan) -> Course:
    """Take the rounds in order until everything is decided or ``plan.max_seeds`` are spent.

    A score of a variant that gets no more seeds, or of a round after the end, takes no part.
    """
    pairs = [pair for pair in combinations(scores, 2) if plan.baseline is None or plan.baseline in pair]
    course = Course(plan, {v: {} for v in scores}, {pair: Match(*pair) for pair in pairs})
    for seed in seeds[: plan.max_seeds]:
        active = course.active
        for variant in active:
            if seed in scores[variant]:
                course.used[variant][seed] = scores[variant][seed]
            course.missing[variant] = 0 if seed in scores[variant] else course.missing.get(variant, 0) + 1
        course.rounds += 1
        _measure(course, active)
        course.lost |= {v for v, count in course.missing.items() if count >= LOST}
        if course.rounds >= LEAST_SEEDS:
            _decide(course, active)
            if course.is_decided:
                break
    return course


def bounds(course: Course, match: Match) -> tuple[float | None, float | None]:
    """The interval of the difference in favour of the winner, or else of the higher mean; of all pairs together."""
    half = match.half_width(course.plan, course.plan.alpha / len(course.matches))
    low, high = around(abs(match.difference), half)
    if low is not None:
        low = min(low, 0.0) if match.winner is None else max(low, ABOVE_ZERO)
    return low, high


def _level(course: Course, match: Match) -> float:
    """The level at which the pair is told apart now.

    With a baseline, Holm's. Without one, alpha over the number of pairs; for the last two variants, more: if they are
    equal, all others are worse, so that errors are left to the undecided pairs among those only.
    """
    count, plan = len(course.matches), course.plan
    if plan.baseline is not None:
        return plan.alpha / max(count - sum(m.winner is not None for m in course.matches.values()), 1)
    left = {v for v, used in course.used.items() if used and v not in course.beaten}
    if left != {match.first, match.second}:
        return plan.alpha / count
    others = [m for m in course.matches.values() if not {m.first, m.second} & left]
    return plan.alpha * (1 - sum(m.winner is None for m in others) / count)


def _measure(course: Course, active: Sequence[str]) -> None:
    """Bring every pair of two ``active`` variants up to the seeds that both have."""
    if course.grid:  # what is no multiple of any step stays so
        course.grid = rounding.step(score for used in course.used.values() for score in used.values())
    for pair, match in course.matches.items():
        if not (match.first in active and match.second in active):
            continue
        first, second = course.used[match.first], course.used[match.second]
        common = [seed for seed in first if seed in second]
        if len(common) == match.n:
            continue
        apart = [first[seed] - second[seed] for seed in common]
        error = standard_error([apart], rounding.least_variance(course.grid, 2))
        constant = all(no_spread([used[seed] for seed in common]) for used in (first, second))
        known = len(common) >= LEAST_SEEDS and not constant and error is not None
        course.matches[pair] = replace(
            match,
            n=len(common),
            difference=fmean(apart),
            error=error.value() if known and error is not None else None,
        )


def _decide(course: Course, active: Sequence[str]) -> None:
    """Every decision that the pairs of ``active`` variants allow, the level rising with each."""
    tested = [p for p, m in course.matches.items() if m.error is not None and m.first in active and m.second in active]
    tested.sort(key=lambda pair: -_distance(course.matches[pair]))  # where the level rises, the clearest comes first
    while any(_tell_apart(course, pair) for pair in tested):
        pass
    while any(_equate(course, pair) for pair in tested):
        pass


def _distance(match: Match) -> float:
    return abs(match.difference) / match.error if match.error else 0.0


def _tell_apart(course: Course, pair: tuple[str, str]) -> bool:
    """Decide who is better, if that is new."""
    match = course.matches[pair]
    level = _level(course, match)
    half = match.half_width(course.plan, level)
    if match.winner is not None or half is None or abs(match.difference) < half or match.difference == 0:
        return False
    found = replace(match, winner=match.first if match.difference > 0 else match.second, level=level)
    course.matches[pair] = found
    course.beaten.setdefault(found.loser or "", found)
    return True


def _equate(course: Course, pair: tuple[str, str]) -> bool:
    """Decide that the difference is within the margin, if that is new: two one-sided tests, Holm over all pairs."""
    match, margin = course.matches[pair], course.plan.margin
    if margin is None or match.within:
        return False
    left = len(course.matches) - sum(m.within for m in course.matches.values())
    half = match.half_width(course.plan, 2 * course.plan.alpha / left)
    if half is None or abs(match.difference) + half > margin:
        return False
    course.matches[pair] = replace(match, within=True)
    return True
