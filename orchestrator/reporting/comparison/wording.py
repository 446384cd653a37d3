"""The comparison in words: the verdict, and what else must be known to believe it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.text import listed
from orchestrator.verdict.sentence import SCOPE

if TYPE_CHECKING:
    from orchestrator.reporting.comparison.variants import VariantRow


@dataclass(frozen=True)
class Counts:
    """How many trials of a launch are planned, have ended, run, and are complete but not yet evaluated."""

    planned: int
    ended: int
    running: int
    unmeasured: int


def sentence(verdict: str, rows: "Sequence[VariantRow]", counts: Counts) -> str:
    """Whether the launch is at its end, the ``verdict``, and which trials of ``rows`` it leaves out."""
    measured = [row for row in rows if row.test_accuracy is not None]
    if not measured and counts.unmeasured:
        verdict = "No test accuracy yet: a search evaluates on the test split when all of its trials have ended."
    scope = SCOPE if verdict.endswith(SCOPE) else ""
    said = verdict.removesuffix(SCOPE).rstrip()
    parts = (_interim(counts), said, _survivors(measured), _unequal(measured), scope)
    return " ".join(part for part in parts if part)


def _survivors(measured: "Sequence[VariantRow]") -> str:
    lost = sum(row.failed + row.stopped for row in measured)
    if not lost:
        return ""
    were = "was" if lost == 1 else "were"
    where = listed([row.variant for row in measured if row.failed + row.stopped])
    ended = f"Of the compared trials, {lost} failed or {were} stopped early ({where})"
    return f"{ended}, so the mean of the others may be too optimistic."


def _unequal(measured: "Sequence[VariantRow]") -> str:
    least, most = min((row.trials for row in measured), default=0), max((row.trials for row in measured), default=0)
    return "" if least == most else f"The variants have different numbers of complete seeds: {least} to {most}."


def _interim(counts: Counts) -> str:
    if counts.ended >= counts.planned:
        return ""
    resume = "" if counts.running else " The same command resumes the launch."
    return f"Interim, not a result: {counts.ended} of {counts.planned} trials have ended.{resume}"
