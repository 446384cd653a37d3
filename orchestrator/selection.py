"""Which trials represent a variant: selected by validation accuracy alone; test accuracy is never used."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.records import CONFIRM, SEARCH, Status, TrialRow


def chosen_trials(trials: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """The trials of each variant that are compared: all, or those of one sample of a search.

    In a launch in stages they are those of its last stage, of which a variant may have none. Of several samples, the
    one of :func:`selected_trials`.
    """
    found = {}
    for label in dict.fromkeys(trial.variant for trial in trials):
        mine = [trial for trial in trials if trial.variant == label and trial.stage != SEARCH]
        found[label] = _best_sample(mine) if mine else []
    return found


def selected_trials(trials: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """The trials of the sample that a search has selected for each variant; in a launch in stages, its search trials.

    That sample has the most complete seeds and, among those, the best mean validation accuracy; test accuracy is not
    used. Without a validation split, it is the first sample. A sample that has been confirmed stays selected, whatever
    is trained later.
    """
    found = {}
    for label in dict.fromkeys(trial.variant for trial in trials):
        mine = [trial for trial in trials if trial.variant == label]
        confirmed = {trial.sample for trial in mine if trial.stage == CONFIRM}
        searched = [trial for trial in mine if trial.stage != CONFIRM]
        stands = [trial for trial in searched if trial.sample in confirmed]
        found[label] = _best_sample(stands or searched) if searched else []
    return found


def unconfirmed(trials: Sequence[TrialRow]) -> list[str]:
    """The variants of a launch in stages that have no place in its last stage: every trial of their search failed."""
    chosen = selected_trials(trials)
    found = []
    for label in chosen:
        mine = [trial for trial in trials if trial.variant == label]
        pending = any(trial.status in ("running", Status.INTERRUPTED) for trial in mine)
        if all(trial.stage == SEARCH for trial in mine) and not pending:
            found += [label] if all(trial.status == Status.FAILED for trial in chosen[label]) else []
    return found


def pattern(trials: Sequence[TrialRow], variant: str) -> TrialRow:
    """A trial with the network of ``variant`` and the settings with which it is compared, once they are chosen."""
    mine = [trial for trial in trials if trial.variant == variant]
    if chosen := chosen_trials(mine)[variant]:
        return chosen[0]
    if search_goes_on(trials) or unconfirmed(mine):
        return replace(mine[0], sample=None, settings={})
    return selected_trials(mine)[variant][0]


def search_goes_on(trials: Sequence[TrialRow]) -> bool:
    """Whether a launch in stages has not come to its last stage yet, so that nothing is compared."""
    stages = {trial.stage for trial in trials}
    return SEARCH in stages and CONFIRM not in stages


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


def _best_sample(trials: Sequence[TrialRow]) -> list[TrialRow]:
    by_sample: dict[int | None, list[TrialRow]] = {}
    for trial in trials:
        by_sample.setdefault(trial.sample, []).append(trial)
    return max(by_sample.values(), key=_rank)


def _rank(trials: Sequence[TrialRow]) -> tuple[int, float]:
    """Of samples without any complete trial, those rank by what has been trained of them."""
    complete = complete_trials(trials)
    trained = complete or [t for t in trials if t.status != Status.FAILED]
    judged = [t.val_accuracy for t in trained if t.val_accuracy is not None]
    return len(complete), statistics.fmean(judged) if judged else 0.0
