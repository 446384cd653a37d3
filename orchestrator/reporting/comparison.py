"""The comparison of variants: one row a variant, over its seeds, and which one is best."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.records import TrialRow

FEWEST_SEEDS = 3  # below this a standard deviation says next to nothing


@dataclass(frozen=True)
class VariantRow:
    """One variant over its complete trials; accuracies are fractions, the spread is the sample standard deviation."""

    variant: str
    parameters: int | None
    macs: int | None
    receptive_field: int | None
    trials: int  # complete ones
    failed: int
    stopped: int
    test_accuracy: float | None  # mean
    spread: float | None  # None with fewer than two complete trials
    lowest: float | None
    highest: float | None
    epochs_to_target: float | None  # median, of the trials that reached it
    reached_target: int  # trials
    seconds: float | None  # mean wall time of training one trial
    best: bool = False


@dataclass(frozen=True)
class Comparison:
    """All variants, best first, and the target that epochs are counted to (fraction)."""

    rows: tuple[VariantRow, ...]
    target: float

    @property
    def verdict(self) -> dict[str, Any]:
        """Plain JSON: the best variant, its margin over the next, and every row."""
        measured = [row for row in self.rows if row.test_accuracy is not None]
        best = measured[0] if measured else None
        second = measured[1] if len(measured) > 1 else None
        return {
            "best": best.variant if best else None,
            "runner_up": second.variant if second else None,
            "margin": _difference(best, second),
            "target_accuracy": self.target,
            "variants": [asdict(row) for row in self.rows],
        }

    def sentence(self) -> str:
        """The verdict in one sentence, with its n and its spread."""
        measured = [row for row in self.rows if row.test_accuracy is not None]
        if not measured:
            return "No trial is complete: there is nothing to compare."
        best = measured[0]
        text = f"{best.variant} is best with {_percent(best)}"
        if len(measured) == 1:
            return text + "; there is no other variant to compare it with."
        second = measured[1]
        margin = 100 * (_difference(best, second) or 0.0)
        text += f", {margin:.2f} points above {second.variant} ({_percent(second)})"
        if best.spread is None or second.spread is None or min(best.trials, second.trials) < FEWEST_SEEDS:
            return text + f"; fewer than {FEWEST_SEEDS} seeds cannot tell that from chance."
        if margin <= 100 * (best.spread + second.spread):
            return text + ", which is within the spread of the seeds: more seeds may turn it round."
        return text + ", more than the spread of the seeds."


def compare(trials: Sequence[TrialRow], target: float) -> Comparison:
    """One row a variant, best mean test accuracy first; variants without a complete trial come last."""
    labels = list(dict.fromkeys(trial.variant for trial in trials))
    rows = [_row(label, [t for t in trials if t.variant == label], target) for label in labels]
    rows.sort(key=lambda row: -(row.test_accuracy if row.test_accuracy is not None else -1.0))
    if rows and rows[0].test_accuracy is not None:
        rows[0] = VariantRow(**{**asdict(rows[0]), "best": True})
    return Comparison(tuple(rows), target)


def in_units(count: float) -> str:
    """A large number with three digits and a unit that people say: 46.7 million."""
    for size, unit in ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,.0f}"


def _row(label: str, trials: Sequence[TrialRow], target: float) -> VariantRow:
    complete = [t for t in trials if t.status == "complete" and t.test_accuracy is not None]
    accuracies = [t.test_accuracy for t in complete if t.test_accuracy is not None]
    reached = [next((e for e, a in t.curve if a >= target), None) for t in complete]
    epochs = [e for e in reached if e is not None]
    seconds = [t.seconds for t in complete if t.seconds is not None]
    first = trials[0]
    return VariantRow(
        variant=label,
        parameters=first.parameters,
        macs=first.macs,
        receptive_field=first.receptive_field,
        trials=len(complete),
        failed=sum(t.status == "failed" for t in trials),
        stopped=sum(t.status == "stopped" for t in trials),
        test_accuracy=statistics.fmean(accuracies) if accuracies else None,
        spread=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        lowest=min(accuracies, default=None),
        highest=max(accuracies, default=None),
        epochs_to_target=statistics.median(epochs) if epochs else None,
        reached_target=len(epochs),
        seconds=statistics.fmean(seconds) if seconds else None,
    )


def _difference(best: VariantRow | None, second: VariantRow | None) -> float | None:
    if best is None or second is None or best.test_accuracy is None or second.test_accuracy is None:
        return None
    return best.test_accuracy - second.test_accuracy


def _percent(row: VariantRow) -> str:
    spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
    return f"{100 * (row.test_accuracy or 0.0):.2f}{spread} % test accuracy over n = {row.trials}"
