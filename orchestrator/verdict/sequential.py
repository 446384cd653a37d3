"""Where a launch in rounds stands: which variants get another seed, and whether it has ended, in words for the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.text import counted, listed
from orchestrator.verdict import arguments
from orchestrator.verdict.comparing import Seeds
from orchestrator.verdict.planning import LEAST_SEEDS
from orchestrator.verdict.rounds import LOST, Course, Match, Plan, bounds, replay
from orchestrator.verdict.sentence import interval_in_points


@dataclass(frozen=True)
class Standing:
    """Where a comparison in rounds stands after a whole round."""

    active: tuple[str, ...]  # variants that get another seed, in the order given; none when it has ended
    ended: str | None  # why it has ended, in words for the user; None: it goes on
    dropped: Mapping[str, str]  # variant -> why it gets no more seeds, in words


def standing(
    scores: Mapping[str, Seeds],
    seeds: Sequence[Any],
    *,
    margin: float | None,
    baseline: str | None,
    confidence: float,
    max_seeds: int,
) -> Standing:
    """Which variants get another seed after the rounds ``seeds``, all of whose trials have ended.

    ``scores``: by variant and seed, the test accuracy (fraction); a variant may lack a seed. The rounds are
    replayed in their order, and what a later one brings changes no earlier decision. Raises RequestError for arguments
    that make no sense.
    """
    arguments.check_question(scores, margin, baseline, confidence)
    arguments.check_rounds(seeds, max_seeds)
    course = replay(scores, seeds, Plan(max_seeds, 1 - confidence, margin, baseline))
    ended = _ended(course)
    dropped = {variant: why for variant in scores if (why := _dropped(course, variant))}
    return Standing(() if ended else tuple(course.active), ended, dropped)


def _dropped(course: Course, variant: str) -> str:
    """Why ``variant`` gets no more seeds, or an empty text."""
    plan = course.plan
    if plan.baseline is None and variant in course.beaten:
        found = course.beaten[variant]
        return f"worse than {found.winner} {_how(course, found)}"
    if plan.baseline is not None and variant != plan.baseline:
        found = next(m for m in course.matches.values() if variant in (m.first, m.second))
        if not found.is_open:
            word = (
                "equivalent to" if found.winner is None else "better than" if found.winner == variant else "worse than"
            )
            return f"{word} the baseline {plan.baseline} {_how(course, found)}"
    if variant in course.lost:
        return "no score in any round" if not course.used[variant] else f"no score in the last {LOST} rounds"
    return ""


def _how(course: Course, match: Match) -> str:
    """``after 7 seeds (2.10 points, 95 % interval 0.80 to 3.40)``."""
    interval = interval_in_points(*bounds(course, match))
    points = f"{100 * abs(match.difference):.2f} points"
    return f"after {counted(match.n, 'seed')} ({points}, {100 * (1 - course.plan.alpha):g} % interval {interval})"


def _ended(course: Course) -> str | None:
    """Why the launch has ended, or None."""
    rounds = f"after {counted(course.rounds, 'round')}"
    if course.rounds >= LEAST_SEEDS and course.is_decided:
        return f"decided {rounds}: {_decided(course)}" if _is_comparable(course) else _nothing_left(course)
    if course.rounds < course.plan.max_seeds:
        return None
    open_ones = [m for m in course.matches.values() if m.is_open and {m.first, m.second} <= {*course.active}]
    names = [f"{match.first} and {match.second}" for match in open_ones]
    said = f"max_seeds ({course.plan.max_seeds}) is spent; not told apart: {listed(names)}"
    return "; ".join([said, *_without_scores(course, _undecided(course))])


def _is_comparable(course: Course) -> bool:
    return any(not match.is_open for match in course.matches.values())


def _nothing_left(course: Course) -> str:
    """Why no pair is left, where none was decided."""
    baseline = course.plan.baseline
    if len(course.used) < 2:
        return "there is only one variant, so that nothing is compared"
    if baseline in course.lost:
        return (
            f"the baseline {baseline} has no score in {LOST} rounds in a row, so that nothing can be compared with it"
        )
    return f"no two variants are left that have scores in the last {LOST} rounds"


def _undecided(course: Course) -> list[str]:
    """The variants whose scores stopped coming before anything final was shown of them."""
    baseline = course.plan.baseline
    if baseline is None:
        return [v for v in course.used if v in course.lost and v not in course.beaten]
    return [m.other(baseline) for m in course.matches.values() if m.is_open and m.other(baseline) in course.lost]


def _without_scores(course: Course, variants: Sequence[str]) -> list[str]:
    """``c has no score in the last 3 rounds``, and the same of ``variants`` that never had one."""
    ever, never = [v for v in variants if course.used[v]], [v for v in variants if not course.used[v]]
    groups = ((ever, f"in the last {LOST} rounds"), (never, "in any round"))
    return [f"{listed(names)} {_verb(names, 'has', 'have')} no score {where}" for names, where in groups if names]


def _verb(names: Sequence[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def _decided(course: Course) -> str:
    """What is decided, of whom, and of whom nothing is: a variant whose scores stopped coming may be either."""
    if course.plan.baseline is not None:
        return _decided_against(course, course.plan.baseline)
    left, gone = course.active, _undecided(course)
    beaten = [v for v in course.used if v in course.beaten]
    if not gone and len(left) == 1:
        return f"{left[0]} is the best; every other variant is worse than it or than another one"
    if not gone and not left:
        return "every variant is worse than another one"
    if len(left) > 1:
        margin = f"the margin of {100 * (course.plan.margin or 0.0):.2f} points"
        said = f"{listed(left)} are equivalent, with differences below {margin}"
    else:
        said = f"{left[0]} is the only variant left" if left else "no variant is left"
    parts = [said]
    if beaten and not gone:
        parts.append("every other variant is worse than another one")
    elif beaten:
        parts.append(f"{listed(beaten)} {_verb(beaten, 'is', 'are')} worse than another one")
    return "; ".join([*parts, *_without_scores(course, gone)])


def _decided_against(course: Course, baseline: str) -> str:
    gone = [m.other(baseline) for m in course.matches.values() if m.is_open]
    settled = [m.other(baseline) for m in course.matches.values() if not m.is_open]
    said = f"every variant is decided against the baseline {baseline}"
    if gone:
        said = f"{listed(settled)} {_verb(settled, 'is', 'are')} decided against the baseline {baseline}"
    if gone and baseline in course.lost:
        stay = f"{listed(gone)} {_verb(gone, 'stays', 'stay')} undecided"
        return f"{said}; the baseline has no score in the last {LOST} rounds, so that {stay}"
    return "; ".join([said, *_without_scores(course, gone)])
