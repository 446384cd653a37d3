"""The comparison in words: the verdict, and what else must be known to believe it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.records import THEN
from orchestrator.text import counted, listed
from orchestrator.verdict.sentence import COMPLETE_SEED, SCOPE

SEARCHING = (
    "Nothing is compared yet: the search goes on. When all of its trials have ended, each variant's best settings are "
    "trained afresh with other seeds, and only these trials are compared."
)


@dataclass(frozen=True)
class Counts:
    """Of the trials of a launch: how many are planned, have ended, run, and are complete but not yet evaluated."""

    planned: int
    ended: int
    running: int
    unmeasured: int
    seeds: Sequence[int] = ()  # that are evaluated, of each variant that has any
    lost: Mapping[str, int] = field(default_factory=dict)  # failed or stopped early, by variant that has any evaluated
    searching: bool = False  # the search of a launch in stages goes on
    caution: str = ""  # that rules were changed after results had been seen, or that not all trials were trained alike
    rounds: str = ""  # how a launch in rounds goes on, or why it has ended
    goes_on: bool = False  # more trials follow on those that are known
    selecting: bool = False  # of a search without a later stage, what it selects is evaluated at its end


def sentence(verdict: str, counts: Counts) -> str:
    """Whether the launch is at its end, the ``verdict``, and which trials it leaves out."""
    if counts.unmeasured:  # these are complete, so that nothing else may be said of their variants
        verdict = verdict.replace(COMPLETE_SEED, "evaluated seed")
    if not counts.seeds and counts.unmeasured:
        when = ": a search evaluates on the test split when all of its trials have ended" if counts.selecting else ""
        verdict = f"No test accuracy yet{when}."
    if counts.searching:
        verdict = SEARCHING
    scope = SCOPE if verdict.endswith(SCOPE) else ""
    said = verdict.removesuffix(SCOPE).rstrip()
    unequal = "" if counts.rounds else _unequal(counts)
    parts = (_interim(counts), said, counts.rounds, counts.caution, _survivors(counts.lost), unequal, scope)
    return " ".join(part for part in parts if part)


def left_out(trials: Sequence[str]) -> str:
    """Which ``trials`` of the launch take no part, since they are no longer in the experiment file, if any."""
    if not trials:
        return ""
    are, they = ("are", "they stay") if len(trials) > 1 else ("is", "it stays")
    return f"{listed(trials)} {are} no longer in the experiment file: {they} recorded, and no part of the comparison."


def computed_otherwise(ways: Sequence[str]) -> str:
    """That compared trials were computed in different ``ways``, of those for which that is known; or nothing."""
    if not (told := _several(ways, "in")):
        return ""
    return (
        f"The compared trials were not all computed alike ({told}), so a difference may be that of precisions or "
        "devices: trainer.precision and trainer.device make them equal."
    )


def trained_with(versions: Sequence[str]) -> str:
    """That compared trials were trained with several ``versions`` of torch, as far as they are known; or nothing."""
    if not (told := _several(versions, "with")):
        return ""
    return (
        f"The compared trials were not all trained with one version of torch ({told}), so a difference may be that of "
        "versions: `orchestrator run --again` trains all of them with the one that is installed."
    )


def _several(found: Sequence[str], preposition: str) -> str:
    """How many trials there are of each kind in ``found``, if they are not all of one; a trial may be of two."""
    counts = Counter(filter(None, found))
    if len(counts) < 2 and not any(THEN in kind for kind in counts):
        return ""
    return listed([f"{count} {preposition} {kind}" for kind, count in counts.most_common()])


def _survivors(lost: Mapping[str, int]) -> str:
    count = sum(lost.values())
    if not count:
        return ""
    were = "was" if count == 1 else "were"
    ended = f"Of the compared trials, {count} failed or {were} stopped early ({listed(list(lost))})"
    return f"{ended}, so the mean of the others may be too optimistic."


def _unequal(counts: Counts) -> str:
    seeds = counts.seeds
    if len(set(seeds)) < 2:
        return ""
    which = "evaluated" if counts.unmeasured else "complete"
    return f"The variants have different numbers of {which} seeds: {min(seeds)} to {max(seeds)}."


def _interim(counts: Counts) -> str:
    """Whether more may come: of the known trials, of those that they make known, or of those not yet evaluated."""
    said = []
    if counts.ended < counts.planned:
        have = "has" if counts.planned == 1 else "have"
        said.append(f"{counts.ended} of {counted(counts.planned, 'trial')} {have} ended")
    if counts.unmeasured:
        wait = "awaits" if counts.unmeasured == 1 else "await"
        said.append(f"{counted(counts.unmeasured, 'complete trial')} {wait} evaluation on the test split")
    if not said and not counts.goes_on:
        return ""
    resume = "" if counts.running else " The same command resumes the launch."
    return f"Interim, not a result{': ' if said else ''}{' and '.join(said)}.{resume}"
