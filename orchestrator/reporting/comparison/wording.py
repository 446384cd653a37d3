"""The verdict in words that claim no more than the numbers."""

from collections.abc import Sequence

from orchestrator.reporting.comparison.differences import LEVEL, MOST_SEEDS, NO_SPREAD, ONE_SEED, Difference
from orchestrator.reporting.comparison.variants import Comparison, VariantRow

NAMED = 4  # variants that a sentence names
UNKNOWN = {ONE_SEED: "too few seeds", NO_SPREAD: "no spread between seeds"}


def sentence(comparison: Comparison) -> str:
    """Which variant is best, by how much, whether that is significant, and if not, what would help."""
    measured = [row for row in comparison.rows if row.test_accuracy is not None]
    absent = [row.variant for row in comparison.rows if row.test_accuracy is None]
    if not measured and comparison.unmeasured:
        parts = ["No test accuracy yet: a search evaluates on the test split when all of its trials have ended."]
    elif not measured:
        parts = ["No trial is complete, so there is nothing to compare."]
    else:
        parts = [*_ranking(comparison, measured, absent), _absent(absent), _survivors(measured), _unequal(measured)]
    return " ".join(part for part in (*parts, _running(comparison.running)) if part)


def interval(difference: Difference) -> str:
    """``-0.10 to 0.94``, in percentage points of accuracy."""
    if difference.low is None or difference.high is None:
        return "unknown"
    return f"{100 * difference.low:.2f} to {100 * difference.high:.2f}"


def _ranking(comparison: Comparison, measured: Sequence[VariantRow], absent: Sequence[str]) -> list[str]:
    best = measured[0]
    if len(measured) > 1:
        margin = f"{100 * comparison.differences[0].difference:.2f} points above {measured[1].variant}"
        ahead = f"{best.variant} is best with {_accuracy(best)}, {margin} ({_accuracy(measured[1])})."
        return [ahead, _evidence(comparison, "every other variant compared" if absent else "every other variant")]
    if absent:
        return [f"{best.variant} has {_accuracy(best)}."]
    return [f"{best.variant} is best with {_accuracy(best)}; there is no other variant to compare with."]


def _evidence(comparison: Comparison, others: str) -> str:
    nearest = comparison.differences[0]
    if comparison.evidence == "none":
        return _advice(nearest)
    if comparison.evidence == "decided":
        return (
            f"The difference is significant: it is ahead of {others}, of {nearest.variant} by "
            f"{interval(nearest)} points (simultaneous {100 * LEVEL:g} % intervals)."
        )
    close = [d for d in comparison.differences if not d.told_apart]
    known = {d.variant: UNKNOWN[d.unknown] if d.unknown else f"{interval(d)} points behind" for d in close}
    names = [f"{variant} ({behind})" for variant, behind in known.items()]
    return f"It is not significantly better than {_listed(names)}. {_advice(close[0])}"


def _advice(close: Difference) -> str:
    if close.unknown == ONE_SEED:
        return "One seed says nothing about the variation between seeds: use at least 3 seeds per variant."
    if close.unknown == NO_SPREAD:
        return (
            f"All seeds of {close.best} have the same accuracy, and so have all seeds of {close.variant}: without any "
            "spread there is no interval."
        )
    points = f"{100 * close.difference:.2f} points"
    if close.seeds_to_tell is not None:
        return f"About {close.seeds_to_tell} seeds per variant would be needed to confirm {points}."
    images = "" if close.images is None else f" on {close.images:,} test images"
    return f"Even {MOST_SEEDS} seeds per variant would probably not confirm {points}{images}."


def _absent(variants: Sequence[str]) -> str:
    if not variants:
        return ""
    verbs = ("has", "is") if len(variants) == 1 else ("have", "are")
    return f"{_listed(variants)} {verbs[0]} no trial with a test accuracy and {verbs[1]} not compared."


def _survivors(measured: Sequence[VariantRow]) -> str:
    lost = sum(row.failed + row.stopped for row in measured)
    if not lost:
        return ""
    were = "was" if lost == 1 else "were"
    ended = f"Of the compared trials, {lost} failed or {were} stopped early"
    return f"{ended}, so the mean of the others may be too optimistic."


def _unequal(measured: Sequence[VariantRow]) -> str:
    least, most = min(row.trials for row in measured), max(row.trials for row in measured)
    return "" if least == most else f"The variants have different numbers of complete seeds: {least} to {most}."


def _running(trials: int) -> str:
    if not trials:
        return ""
    return f"{trials} trial{' is' if trials == 1 else 's are'} still running: the verdict may change."


def _listed(names: Sequence[str]) -> str:
    """The first ``NAMED`` names, and the number of others."""
    parts = [*names[:NAMED], f"{len(names) - NAMED} more"] if len(names) > NAMED else names
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _accuracy(row: VariantRow) -> str:
    spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
    return f"{100 * (row.test_accuracy or 0.0):.2f}{spread} % test accuracy over n = {row.trials}"
