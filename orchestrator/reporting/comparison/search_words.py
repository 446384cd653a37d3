"""What a search was, in sentences: what was chosen from how much, and whether every variant was given the same."""

from collections.abc import Sequence

from orchestrator.reporting.comparison.search import Searched
from orchestrator.text import listed


def sentences(rows: Sequence[Searched]) -> str:
    """What was chosen from how many, and whether every variant was given the same to spend."""
    if not rows:
        return ""
    counts = [row.configurations for row in rows]
    how = ""
    if any(row.confirmed is not None for row in rows):
        how = _confirmed(rows)
    elif max(counts) > 1:
        how = (
            f"Each variant takes part with one of its {_range(counts, 'configuration')}, chosen by its mean validation "
            "accuracy over seeds; test accuracies of the others take no part."
        )
        if before := [row.variant for row in rows if row.earlier]:
            how += f" Of {listed(before)} other settings had been chosen, and evaluated, before the search went on."
    return " ".join(part for part in (how, _budgets(rows)) if part)


def _confirmed(rows: Sequence[Searched]) -> str:
    """Of a launch in stages: what the search was for, and which variants depart from the rule."""
    if not any(row.confirmed for row in rows):
        return ""
    counts = [row.configurations for row in rows if row.configurations]
    tried = f"one of its {_range(counts, 'configuration')}" if counts else "one configuration"
    parts = [
        f"Each variant takes part with {tried}, chosen in the search by its mean "
        "validation accuracy over seeds, then trained afresh: it is judged on these fresh seeds alone, and no trial of "
        "the search takes part."
    ]
    if failed := [row.variant for row in rows if row.search_failed]:
        parts.append(f"Every trial of the search has failed of {listed(failed)}: not confirmed.")
    if waiting := [row.variant for row in rows if not row.confirmed and not row.search_failed]:
        parts.append(f"No fresh trial of {listed(waiting)} has begun yet.")
    if absent := [row.variant for row in rows if not row.configurations]:
        parts.append(f"No trial that the search of {listed(absent)} has now has begun: its configuration stands.")
    for row in rows:
        if row.confirmed and row.best is not None and row.accuracy is not None and row.accuracy < row.best:
            parts.append(
                f"{row.variant} keeps the configuration that its fresh trials began with, though by now the search has "
                "a better one."
            )
    return " ".join(parts)


def _budgets(rows: Sequence[Searched]) -> str:
    trials, epochs = [row.trials for row in rows], [row.epochs for row in rows]
    given = f"{_range(trials, 'trial')} and {_range(epochs, 'epoch')}"
    given += " in the search" if any(row.confirmed is not None for row in rows) else ""
    if len(rows) == 1:
        return f"{rows[0].variant} was given {given}."
    if len(set(trials)) == len(set(epochs)) == 1:
        return f"Every variant was given {given}."
    return f"The variants were not given the same to spend: {given}."


def _range(values: Sequence[int], unit: str) -> str:
    least, most = min(values), max(values)
    return f"{least:,} {unit}{'' if most == 1 else 's'}" if least == most else f"{least:,} to {most:,} {unit}s"
