"""The confirm stage: each variant's best settings of a search, with seeds that nothing was chosen by."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.records import CONFIRM, SEARCH, Status, TrialResult, TrialRow
from orchestrator.selection import complete_trials, selected_trials
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.text import settings_in_words

Choices = Mapping[str, int]  # by variant, the sample that its confirm trials are trained with


def choose(searched: Sequence[TrialSpec], results: Mapping[str, TrialResult], made: Choices) -> dict[str, int]:
    """By variant, the sample with the best validation accuracy; a choice that has been ``made`` stands.

    Nothing new before every one of the ``searched`` trials has ended. A variant of which every trial has failed has
    none.
    """
    choices = dict(made)
    if any(spec.name not in results for spec in searched):
        return choices
    for label, chosen in selected_trials([_row(spec, results[spec.name]) for spec in searched]).items():
        sample = chosen[0].sample
        if label not in choices and sample is not None and any(row.status != Status.FAILED for row in chosen):
            choices[label] = sample
    return choices


def lost_choices(experiment: Experiment, choices: Choices) -> list[str]:
    """Which ``choices`` that have been made would not be among the samples of ``experiment``, one line each."""
    if experiment.search is None or experiment.confirm is None:
        return []
    limit, labels = experiment.search.limit, {variant.label for variant in experiment.variants}
    return [
        f"{label} is confirmed with sample {sample}: keep search.samples at {sample + 1} or more"
        for label, sample in choices.items()
        if label in labels and sample >= limit
    ]


def confirm_trials(searched: Iterable[TrialSpec], choices: Choices) -> dict[str, TrialSpec]:
    """By variant, a trial of the confirm stage with the chosen settings, whose seed is still one of the search."""
    found: dict[str, TrialSpec] = {}
    for spec in searched:
        if choices.get(spec.label) == spec.sample and spec.label not in found:
            found[spec.label] = replace(spec, stage=CONFIRM)
    return found


def choices_in_words(
    searched: Sequence[TrialSpec], results: Mapping[str, TrialResult], choices: Choices, seeds: Sequence[int]
) -> list[str]:
    """For the user: with which settings each variant goes on, and which variants do not."""
    lines = []
    rows = [_row(spec, results[spec.name]) for spec in searched if spec.name in results]
    for label in dict.fromkeys(spec.label for spec in searched):
        if label not in choices:
            if all(spec.name in results for spec in searched if spec.label == label):
                lines.append(f"{label} is not confirmed: every trial of its search has failed")
            continue
        mine = [row for row in rows if row.variant == label and row.sample == choices[label]]
        judged = [row.val_accuracy for row in complete_trials(mine) or mine if row.val_accuracy is not None]
        accuracy = f" ({100 * sum(judged) / len(judged):.2f} % on validation)" if judged else ""
        settings = next((s.settings for s in searched if (s.label, s.sample) == (label, choices[label])), None)
        if settings is None:  # an adaptive search has not come to it again
            continue
        lines.append(f"{label} is trained afresh with {settings_in_words(settings)}{accuracy}: {_seeds(seeds)}")
    return lines


def _row(spec: TrialSpec, result: TrialResult) -> TrialRow:
    """The trial as the selection sees it: whether it has been evaluated on the test split, not how well it did."""
    return TrialRow(
        spec.name,
        "",
        spec.label,
        spec.seed,
        str(result.status),
        val_accuracy=result.val_accuracy,
        test_accuracy=None if result.test_accuracy is None else 0.0,
        sample=spec.sample,
        stage=SEARCH,
        settings=spec.settings,
    )


def _seeds(seeds: Sequence[int]) -> str:
    listed = ", ".join(map(str, seeds[:5])) + (", ..." if len(seeds) > 5 else "")
    return f"seed {listed}" if len(seeds) == 1 else f"seeds {listed}"
