"""Which trials represent a variant: selected by validation accuracy alone; test accuracy is never used."""

import statistics
from collections.abc import Sequence

from orchestrator.records import TrialRow


def chosen_trials(trials: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """The trials of each variant that are compared: all, or those of one sample of a search.

    That sample has the most complete seeds and, among those, the best mean validation accuracy; test accuracy is not
    used. Without a validation split, it is the first sample. A sample that has been evaluated on the test split stays
    selected, whatever fails or is completed later: no second one may be evaluated.
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

    Test accuracy is not used, so it remains an unbiased estimate.
    """
    return max(complete_trials(trials), key=lambda t: -1.0 if t.val_accuracy is None else t.val_accuracy, default=None)


def complete_trials(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials that have been trained to their end."""
    return [t for t in trials if t.status == "complete"]


def measured_trials(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials that are complete and evaluated on the test split: in a search only the selected ones are."""
    return [t for t in complete_trials(trials) if t.test_accuracy is not None]


def _rank(trials: Sequence[TrialRow]) -> tuple[bool, int, float]:
    complete = complete_trials(trials)
    judged = [t.val_accuracy for t in complete if t.val_accuracy is not None]
    return bool(measured_trials(trials)), len(complete), statistics.fmean(judged) if judged else 0.0
