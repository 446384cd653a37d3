"""The verdict in words, as a careful colleague would say it: no more than the numbers say."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.text import counted, listed
from orchestrator.verdict.planning import LEAST_SEEDS, MOST_SEEDS
from orchestrator.verdict.result import Decision, Pair, VariantScore, Verdict

SCOPE = "This is about these networks with this recipe on this data and split."
COMPLETE_SEED = "complete seed"  # what a variant lacks that has no score
NUMBERS = {1: "One seed", 2: "Two seeds"}


def with_sentence(verdict: Verdict) -> Verdict:
    """The same verdict with its sentence."""
    return replace(verdict, sentence=sentence(verdict))


def sentence(verdict: Verdict) -> str:
    """What is better than what and by how much, what is not told apart, and what would help."""
    measured = [score for score in verdict.variants if score.n]
    absent = [score.variant for score in verdict.variants if not score.n]
    if not measured:
        return "No seed is complete, so there is nothing to compare."
    if verdict.pairs:
        against = _against_baseline(verdict) if verdict.baseline else _against_best(verdict)
        parts = [against, _behind_others(verdict), _rounds(verdict), _new_images(verdict)]
    elif verdict.baseline in absent:
        absent.remove(verdict.baseline)
        parts = [f"The baseline {verdict.baseline} has no {COMPLETE_SEED}, so nothing is compared with it."]
    else:
        others = f"no other variant has a {COMPLETE_SEED} ({listed(absent)})" if absent else ""
        if len(measured) > 1:
            others = "it has no seed in common with another variant"
        parts = [f"{_alone(measured[0], verdict)}; {others or 'there is no other variant to compare it with'}."]
        absent = []
    missing = f"{listed(absent)} {'has' if len(absent) == 1 else 'have'} no {COMPLETE_SEED}." if absent else ""
    return " ".join(part for part in (*parts, missing, SCOPE) if part)


def interval_in_points(low: float | None, high: float | None) -> str:
    """``-0.10 to 0.94``, in percentage points; a positive bound that rounds to zero is ``above 0.00``."""
    if low is None or high is None:
        return "unknown"
    above = "above " if 0 < low < 0.00005 else ""
    return f"{above}{_points(low)} to {_points(high)}"


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 2) + 0.0:.2f}"  # + 0.0: there is no -0.00


def _alone(score: VariantScore, verdict: Verdict) -> str:
    spread = "" if score.sd is None else f" ± {_points(score.sd)}"
    accuracy = f"{score.variant} has {_points(score.mean or 0.0)}{spread} % test accuracy over n = {score.n}"
    if score.low is None:
        return accuracy
    interval = f"{interval_in_points(score.low, score.high)} %"
    return f"{accuracy} ({100 * verdict.confidence:g} % interval of the mean {interval})"


def _against_best(verdict: Verdict) -> str:
    best = verdict.variants[0].variant
    pairs = [pair for pair in verdict.pairs if best in (pair.a, pair.b)]
    if len(pairs) > 1 and all(pair.decision is Decision.BETTER for pair in pairs):
        return f"{best} is better than every other variant: {listed([_than(pair, verdict) for pair in pairs])}."
    return " ".join(_groups(verdict, pairs, best))


def _against_baseline(verdict: Verdict) -> str:
    """The variants that are better than the baseline, then all others."""
    baseline = verdict.baseline or ""
    better = [pair for pair in verdict.pairs if pair.b == baseline and pair.decision is Decision.BETTER]
    rest = [pair for pair in verdict.pairs if pair not in better]
    names = listed([f"{pair.a} {_by(pair, verdict)}" for pair in better]) if better else ""
    ahead = f"Better than the baseline {baseline}: {names}." if better else ""
    return " ".join(part for part in (ahead, *_groups(verdict, rest, baseline)) if part)


def _groups(verdict: Verdict, pairs: Sequence[Pair], subject: str) -> list[str]:
    """One statement for each decision; every pair has ``subject`` in it."""
    groups = {decision: [pair for pair in pairs if pair.decision is decision] for decision in Decision}
    margin = f"the margin of {_points(verdict.margin or 0.0)} points"
    parts = []
    if better := groups[Decision.BETTER]:
        parts.append(f"{subject} is better {listed([_than(pair, verdict) for pair in better])}.")
    if slightly := groups[Decision.SLIGHTLY_BETTER]:
        names = listed([f"{pair.a} {_than(pair, verdict)}" for pair in slightly])
        parts.append(f"Better, but by less than {margin}: {names}.")
    if equivalent := groups[Decision.EQUIVALENT]:
        names = listed([f"{_other(pair, subject)} ({_points(pair.difference)} points)" for pair in equivalent])
        parts.append(f"{subject} is equivalent to {names}: the difference is shown to be below {margin}.")
    undecided = groups[Decision.UNDECIDED]
    if verdict.rounds is not None:  # what is worse than another variant gets no more seeds: see _behind_others
        undecided = [pair for pair in undecided if _other(pair, subject) in verdict.leaders]
    if undecided:
        parts.append(_undecided(verdict, undecided, subject))
    return parts


def _behind_others(verdict: Verdict) -> str:
    """Of a launch in rounds: the variants that got no more seeds because another one than the best is better."""
    if verdict.rounds is None or verdict.baseline:
        return ""
    known = {pair.b for pair in verdict.pairs if pair.told_apart and pair.a == verdict.variants[0].variant}
    told: dict[str, Pair] = {}
    for pair in verdict.pairs:
        if pair.told_apart and pair.b not in known:
            told.setdefault(pair.b, pair)
    names = [f"{pair.b} than {pair.a} {_by(pair, verdict)}" for pair in told.values()]
    return f"Worse than another variant: {listed(names)}." if names else ""


def _rounds(verdict: Verdict) -> str:
    if verdict.rounds is None:
        return ""
    rounds = f"{counted(verdict.rounds, 'round')}, of at most {verdict.max_seeds}"
    return f"Looked at after every round of one seed a variant ({rounds}); the intervals hold at every look."


def _undecided(verdict: Verdict, pairs: Sequence[Pair], subject: str) -> str:
    known = [pair for pair in pairs if pair.low is not None and pair.n >= LEAST_SEEDS]
    nearest = min(known or pairs, key=lambda pair: pair.difference)
    if len(pairs) == 1:
        said = f"{nearest.a} and {nearest.b} are not told apart ({_size(nearest, verdict)})"
    else:
        names = listed([f"{_other(pair, subject)} ({_size(pair, verdict)})" for pair in pairs])
        said = f"{subject} is not told apart from {names}"
    advice = _advice(verdict, nearest, pairs) if verdict.rounds is None else ""
    if nearest.n < LEAST_SEEDS:
        return f"{said}. {NUMBERS[nearest.n]} cannot decide: at least three are needed{advice}."
    if same := [_other(pair, subject) for pair in pairs if pair.low is None]:
        of = f" of {subject} and {listed(same)}" if known else ""
        none = f"Without any spread between seeds{of} nothing is known about chance: more seeds may show some."
        return f"{said}{advice}. {none}"
    return f"{said}{advice}."


def _advice(verdict: Verdict, pair: Pair, pairs: Sequence[Pair]) -> str:
    """How many more seeds would decide the undecided ``pair``; where none would, what decides another of ``pairs``."""
    target = max(pair.difference, verdict.margin or 0.0)
    points = f"{_points(target)} points"
    if pair.low is None or target < 0.00005:  # 0.00 points
        return ""
    if pair.more_seeds is None:
        never = f"even {MOST_SEEDS:,} more seeds of each would probably not show {points}"
        known = [other for other in pairs if other.more_seeds]
        if not known:
            return f"; {never}"
        first = min(known, key=lambda other: other.more_seeds or 0)
        apart = f"{_points(max(first.difference, verdict.margin or 0.0))} points between {first.a} and {first.b}"
        more = f"about {first.more_seeds} more seeds of each would probably show it"
        return f"; {never}; if {apart} is the true difference, {more}"
    if pair.more_seeds == 0:
        return f"; these seeds would probably have shown {points}"
    more = f"{counted(pair.more_seeds, 'more seed')} of each"
    return f"; if {points} is the true difference, about {more} would probably show it"


def _new_images(verdict: Verdict) -> str:
    """Whether what is told apart holds for other test images, where that is known."""
    subject = verdict.baseline or verdict.variants[0].variant
    told = [pair for pair in verdict.pairs if subject in (pair.a, pair.b) and pair.told_apart]
    doubtful = [pair for pair in told if pair.holds_for_new_images is False]
    by_split = [_other(p, subject) for p in doubtful if p.low_new_images is not None and p.low_new_images <= 0]
    barely = [_other(p, subject) for p in doubtful if _other(p, subject) not in by_split]
    parts = []
    if by_split:
        parts.append(
            f"The difference from {listed(by_split)} holds for new seeds but is not shown for new images: "
            "it may be a difference of this test split."
        )
    if barely:
        parts.append(
            f"The difference from {listed(barely)} is shown for new seeds and for new images, each alone, but not for "
            "both at once."
        )
    if told and all(pair.holds_for_new_images for pair in told):
        parts.append("What is told apart is so for other seeds and other test images of the same kind at once, too.")
    return " ".join(parts)


def _other(pair: Pair, subject: str) -> str:
    return pair.b if pair.a == subject else pair.a


def _than(pair: Pair, verdict: Verdict) -> str:
    return f"than {pair.b} {_by(pair, verdict)}"


def _by(pair: Pair, verdict: Verdict) -> str:
    """``by 0.70 points (95 % interval 0.20 to 1.20, n = 3)``."""
    return f"by {_points(pair.difference)} points ({_error(pair, verdict)})"


def _size(pair: Pair, verdict: Verdict) -> str:
    """``0.20 points, 95 % interval -0.40 to 0.80, n = 3``."""
    return f"{_points(pair.difference)} points, {_error(pair, verdict)}"


def _error(pair: Pair, verdict: Verdict) -> str:
    n = f"n = {pair.n}"
    if not pair.paired:
        seeds = {score.variant: score.n for score in verdict.variants}
        n = f"n = {seeds[pair.a]} and {seeds[pair.b]}"
    if pair.low is None or pair.n < LEAST_SEEDS:  # with two seeds it says nothing but that
        return n
    return f"{100 * verdict.confidence:g} % interval {interval_in_points(pair.low, pair.high)}, {n}"
