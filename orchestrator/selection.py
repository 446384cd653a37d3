"""Which trials speak for a variant: chosen by validation accuracy alone, the test accuracy has no say."""

import statistics
from collections.abc import Sequence

from orchestrator.records import TrialRow


def chosen_trials(trials: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """The trials of each variant that are compared: all, or those of one sample of a search.

    That sample has the most complete seeds and, of those, the best mean validation accuracy; the test accuracy has no
    say. Where nothing was held out for validation, it is the first. A sample that has been measured on the test split
    stays chosen, whatever fails or is completed later: no second one may be measured.
    """
    found: dict[str, list[TrialRow]] = {}
    for label in dict.fromkeys(trial.variant for trial in trials):
        by_sample: dict[int | None, list[TrialRow]] = {}
        for trial in trials:
            if trial.variant == label:
                by_sample.setdefault(trial.sample, []).append(trial)
        found[label] = max(by_sample.values(), key=_rank)
    return found


def representative(trials: Sequence[TrialRow]) -> TrialRow | None:
    """Of one variant's compared trials, the complete one with the best validation accuracy; the first without any.

    The test accuracy has no say, so what it is known by stays an honest estimate.
    """
    return max(complete_trials(trials), key=lambda t: -1.0 if t.val_accuracy is None else t.val_accuracy, default=None)


def complete_trials(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """Those that have trained to their end."""
    return [t for t in trials if t.status == "complete"]


def measured_trials(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """Those that are complete and measured on the test split: of a search only what has been chosen is."""
    return [t for t in complete_trials(trials) if t.test_accuracy is not None]


def _rank(trials: Sequence[TrialRow]) -> tuple[bool, int, float]:
    complete = complete_trials(trials)
    judged = [t.val_accuracy for t in complete if t.val_accuracy is not None]
    return bool(measured_trials(trials)), len(complete), statistics.fmean(judged) if judged else 0.0
