"""The comparison of variants: one row per variant, over its seeds, and the differences to the best."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.differences import LEVEL, Difference, Right, Sample, differences
from orchestrator.selection import chosen_trials, complete_trials, measured_trials


@dataclass(frozen=True)
class VariantRow:
    """One variant over its complete trials; accuracies are fractions, the spread is the sample standard deviation.

    In a search these are the trials of one sample, the best by mean validation accuracy.
    """

    variant: str
    parameters: int | None
    macs: int | None
    receptive_field: int | None
    trials: int  # complete ones
    failed: int
    stopped: int
    running: int
    test_accuracy: float | None  # mean
    spread: float | None  # None with fewer than two complete trials
    lowest: float | None
    highest: float | None
    epochs_to_target: float | None  # median, of the trials that reached it
    reached_target: int  # trials
    seconds: float | None  # mean wall time of training one trial
    best: bool = False
    sample: int | None = None  # of a search
    settings: Mapping[str, Any] = field(default_factory=dict)  # of that sample, by dotted path


@dataclass(frozen=True)
class Comparison:
    """All variants, best first, the target accuracy for epochs (fraction), and how far each is behind."""

    rows: tuple[VariantRow, ...]
    target: float
    differences: tuple[Difference, ...] = ()
    running: int = 0  # trials, including those of a search's other samples, which may still be selected
    unmeasured: int = 0  # complete trials that are compared but not yet evaluated on the test split

    @property
    def evidence(self) -> str:
        """``decided`` if the best is significantly better than every compared variant, ``undecided``, or ``none``."""
        if not self.differences or all(d.low is None for d in self.differences):
            return "none"
        return "decided" if all(d.told_apart for d in self.differences) else "undecided"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the best variant, its margin over the next, the evidence for it, and every row."""
        measured = [row for row in self.rows if row.test_accuracy is not None]
        nearest = self.differences[0] if self.differences else None
        return {
            "best": measured[0].variant if measured else None,
            "runner_up": nearest.variant if nearest else None,
            "margin": nearest.difference if nearest else None,
            "evidence": self.evidence,
            "level": LEVEL,
            "differences": [{**asdict(d), "told_apart": d.told_apart} for d in self.differences],
            "running": self.running,
            "unmeasured": self.unmeasured,
            "target_accuracy": self.target,
            "variants": [asdict(row) for row in self.rows],
        }


def compare(trials: Sequence[TrialRow], target: float, right: Mapping[str, Right] | None = None) -> Comparison:
    """One row per variant, best mean test accuracy first; variants without a complete trial come last.

    ``target``: the accuracy (fraction) that epochs are counted to. ``right``: by run, (N,) bool, which test images were
    classified correctly; given for all trials of a variant or for none.
    """
    chosen = chosen_trials(trials)
    rows = [_row(label, mine) for label, mine in chosen.items()]
    rows.sort(key=lambda row: -(row.test_accuracy if row.test_accuracy is not None else -1.0))
    samples = [_sample(row.variant, measured_trials(chosen[row.variant]), right or {}) for row in rows if row.trials]
    if rows and rows[0].test_accuracy is not None:
        rows[0] = replace(rows[0], best=True)
    running = sum(trial.status == "running" for trial in trials)
    unmeasured = sum(len(complete_trials(mine)) - len(measured_trials(mine)) for mine in chosen.values())
    return Comparison(tuple(rows), target, tuple(differences(samples)) if samples else (), running, unmeasured)


def _sample(variant: str, complete: Sequence[TrialRow], right: Mapping[str, Right]) -> Sample:
    accuracies = [t.test_accuracy for t in complete if t.test_accuracy is not None]
    known = [right[t.run_id] for t in complete if t.run_id in right]
    return Sample(variant, accuracies, np.stack(known) if len(known) == len(complete) else None)


def _row(label: str, trials: Sequence[TrialRow]) -> VariantRow:
    complete = measured_trials(trials)
    accuracies = [t.test_accuracy for t in complete if t.test_accuracy is not None]
    epochs = [t.epochs_to_target for t in complete if t.epochs_to_target is not None]
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
        running=sum(t.status == "running" for t in trials),
        test_accuracy=statistics.fmean(accuracies) if accuracies else None,
        spread=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        lowest=min(accuracies, default=None),
        highest=max(accuracies, default=None),
        epochs_to_target=statistics.median(epochs) if epochs else None,
        reached_target=len(epochs),
        seconds=statistics.fmean(seconds) if seconds else None,
        sample=first.sample,
        settings=first.settings,
    )
