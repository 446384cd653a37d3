"""The comparison of variants: one row per variant, over its seeds, and the verdict on them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.records import Status, TrialRow
from orchestrator.reporting.comparison import wording
from orchestrator.reporting.comparison.rounds import Rounds, with_baseline
from orchestrator.reporting.comparison.search import Searched, searched
from orchestrator.selection import (
    chosen_trials,
    complete_trials,
    measured_trials,
    pattern,
    search_goes_on,
)
from orchestrator.spec import VerdictSettings, variant_label
from orchestrator.verdict import Pair, SequentialDesign, Verdict, judge

Right = NDArray[np.bool_]  # (N,), by test image
DEFAULTS = VerdictSettings()


@dataclass(frozen=True)
class VariantRow:
    """One variant over its complete trials; accuracies are fractions, the spread is the sample standard deviation.

    In a search these are the trials of one sample, the best by mean validation accuracy; in a launch in rounds those
    whose seeds the verdict is about.
    """

    variant: str
    parameters: int | None = None
    macs: int | None = None
    receptive_field: int | None = None
    trials: int = 0  # complete ones
    failed: int = 0
    stopped: int = 0  # early, by the scheduler
    running: int = 0
    test_accuracy: float | None = None  # mean
    spread: float | None = None  # None with fewer than two complete trials
    lowest: float | None = None
    highest: float | None = None
    epochs_to_target: float | None = None  # median, of the trials that reached it
    reached_target: int = 0  # trials
    seconds: float | None = None  # mean wall time of training one trial
    forward_seconds: float | None = None  # median over trials, per image, of one image at a time
    forward_seconds_batched: float | None = None  # the same in batches
    best: bool = False
    leader: bool = False  # the best, or not told apart from it
    interval: tuple[float, float] | None = None  # of the mean: Student's t, or in rounds one that holds at every look
    sample: int | None = None  # of a search
    settings: Mapping[str, Any] = field(default_factory=dict)  # of that sample, by dotted path
    interrupted: int = 0  # with the launch, which can be resumed


@dataclass(frozen=True)
class Comparison:
    """All variants, best first, the verdict on them, and the target accuracy that epochs are counted to (fraction)."""

    rows: tuple[VariantRow, ...]
    target: float
    verdict: Verdict
    running: int = 0  # trials, including those of a search's other samples, which may still be selected
    unmeasured: int = 0  # complete trials that are compared but not yet evaluated on the test split
    searches: tuple[Searched, ...] = ()  # by variant, if settings were searched or trials stopped early
    rounds: Rounds | None = None  # of a launch that trains until its variants are decided

    @property
    def measured(self) -> list[VariantRow]:
        """The rows with a test accuracy, best first."""
        return [row for row in self.rows if row.test_accuracy is not None]

    @property
    def reference(self) -> str | None:
        """The variant that the table compares all others with: the baseline, or the best."""
        return self.verdict.baseline or (self.measured[0].variant if self.measured else None)

    @property
    def evidence(self) -> str:
        """``decided`` if the best is significantly better than every other variant, ``undecided``, or ``none``.

        With a baseline only it is compared with the others, so that nothing may be known of the best and the next.
        """
        against = [pair for row in self.measured[1:] if (pair := self.against(row, self.measured[0].variant))]
        if all(pair.low is None for pair in against):
            return "none"
        every = len(against) == len(self.measured) - 1
        return "decided" if every and all(pair.told_apart for pair in against) else "undecided"

    @property
    def sentence(self) -> str:
        """The verdict in words, and what else must be known to believe it."""
        return self.verdict.sentence

    def against(self, row: VariantRow, reference: str | None) -> Pair | None:
        """The comparison of ``row`` with the variant ``reference``; None if they are not compared."""
        return None if reference is None else self.verdict.pair(row.variant, reference)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the verdict, the best variant, its margin over the next, the evidence for it, and every row."""
        measured = self.measured
        best, runner_up = [row.variant for row in measured[:2]] + [None] * (2 - len(measured[:2]))
        means = [row.test_accuracy or 0.0 for row in measured]
        return {
            **self.verdict.to_dict(),
            "best": best,
            "runner_up": runner_up,
            "margin": means[0] - means[1] if len(means) > 1 else None,
            "evidence": self.evidence,
            "level": self.verdict.confidence,
            "running": self.running,
            "unmeasured": self.unmeasured,
            "target_accuracy": self.target,
            **({} if self.rounds is None else {"until_decided": self.rounds.to_dict()}),
            "variants": [self._variant(row) for row in self.rows],
        }

    def _variant(self, row: VariantRow) -> dict[str, Any]:
        search = next((search.to_dict() for search in self.searches if search.variant == row.variant), None)
        return {**asdict(row), "interval": row.interval and list(row.interval), "search": search}


def compare(
    trials: Sequence[TrialRow],
    target: float,
    right: Mapping[str, Right] | None = None,
    settings: VerdictSettings = DEFAULTS,
    planned: int | None = None,
    rounds: Rounds | None = None,
    caution: str = "",
) -> Comparison:
    """One row per variant, best mean test accuracy first; variants without a complete trial come last.

    ``target``: the accuracy (fraction) that epochs are counted to. ``right``: by run, (N,) bool, which test images were
    classified correctly. ``planned``: how many trials the launch has, started or not. ``rounds``: those of a launch
    that trains until its variants are decided. ``caution``: what must be said of earlier looks. The baseline of
    ``settings`` has a row even before any of its trials has begun.
    """
    chosen = with_baseline(chosen_trials(trials), settings)
    part = chosen if rounds is None else rounds.taking_part(chosen)
    begun = {trial.variant for trial in trials}
    rows = [_row(v, mine, pattern(trials, v)) if v in begun else VariantRow(v) for v, mine in part.items()]
    verdict = _judge(rows, part, right or {}, settings, rounds)
    places = {score.variant: place for place, score in enumerate(verdict.variants)}
    rows.sort(key=lambda row: places[row.variant])
    running = sum(trial.status == "running" for trial in trials)
    unmeasured = sum(len(complete_trials(mine)) - len(measured_trials(mine)) for mine in part.values())
    judged = tuple(_with_verdict(row, verdict, first=place == 0) for place, row in enumerate(rows))
    measured = [row for row in judged if row.test_accuracy is not None]
    compared = [trial for mine in part.values() for trial in measured_trials(mine)]
    otherwise = wording.computed_otherwise([trial.computed_in for trial in compared])
    versions = wording.trained_with([trial.torch_version for trial in compared])
    searching = search_goes_on(trials) and any(trial.status != Status.FAILED for trial in trials)
    counts = wording.Counts(
        planned or len(trials),
        sum(map(_has_ended, trials)),
        running,
        unmeasured,
        [row.trials for row in measured],
        {row.variant: row.failed + row.stopped for row in measured if row.failed + row.stopped},
        searching=searching,
        rounds="" if rounds is None else f"{rounds.sentence} {rounds.left_out(chosen)}".strip(),
        caution=" ".join(filter(None, (caution, otherwise, versions))),
        goes_on=searching or (rounds is not None and rounds.ended is None),
        selecting=any(trial.sample is not None and not trial.stage for trial in trials),
    )
    verdict = replace(verdict, sentence=wording.sentence(verdict.sentence, counts))
    return Comparison(judged, target, verdict, running, unmeasured, searched(trials), rounds)


def costs_of(rows: Sequence[VariantRow]) -> dict[str, dict[str, float]]:
    """What the variants cost, by name of the cost and variant, as far as it is known."""
    costs: dict[str, dict[str, float | None]] = {
        "parameters": {row.variant: row.parameters for row in rows},
        "macs": {row.variant: row.macs for row in rows},
        "seconds": {row.variant: row.seconds for row in rows},
        "forward_seconds": {row.variant: row.forward_seconds for row in rows},
        "forward_seconds_batched": {row.variant: row.forward_seconds_batched for row in rows},
    }
    known = {name: {v: float(c) for v, c in cost.items() if c is not None} for name, cost in costs.items()}
    return {name: cost for name, cost in known.items() if cost}


def _judge(
    rows: Sequence[VariantRow],
    chosen: Mapping[str, Sequence[TrialRow]],
    right: Mapping[str, Right],
    settings: VerdictSettings,
    rounds: Rounds | None,
) -> Verdict:
    measured = {label: measured_trials(mine) for label, mine in chosen.items()}
    return judge(
        {label: {t.seed: t.test_accuracy or 0.0 for t in mine} for label, mine in measured.items()},
        predictions={(t.variant, t.seed): right[t.run_id] for m in measured.values() for t in m if t.run_id in right},
        baseline=settings.baseline and variant_label(settings.baseline) if measured else None,
        margin=settings.margin,
        confidence=settings.confidence,
        costs=costs_of(rows),
        sequential=None if rounds is None else SequentialDesign(rounds.seeds, rounds.max_seeds),
    )


def _with_verdict(row: VariantRow, verdict: Verdict, first: bool) -> VariantRow:
    score = next(score for score in verdict.variants if score.variant == row.variant)
    interval = None if score.low is None or score.high is None else (score.low, score.high)
    best = first and row.test_accuracy is not None
    return replace(row, best=best, leader=row.variant in verdict.leaders, interval=interval)


def _has_ended(trial: TrialRow) -> bool:
    """Whether nothing more comes of it: it does not run, and was not interrupted with its launch."""
    return trial.status not in ("running", Status.INTERRUPTED)


def _row(label: str, trials: Sequence[TrialRow], like: TrialRow) -> VariantRow:
    """The row of the compared ``trials``; network and settings are those of ``like``."""
    complete = measured_trials(trials)
    accuracies = [t.test_accuracy for t in complete if t.test_accuracy is not None]
    epochs = [t.epochs_to_target for t in complete if t.epochs_to_target is not None]
    seconds = [t.seconds for t in complete if t.seconds is not None]
    single = [t.forward_seconds for t in complete if t.forward_seconds is not None]
    batched = [t.forward_seconds_batched for t in complete if t.forward_seconds_batched is not None]
    return VariantRow(
        variant=label,
        parameters=like.parameters,
        macs=like.macs,
        receptive_field=like.receptive_field,
        trials=len(complete),
        failed=sum(t.status == "failed" for t in trials),
        stopped=sum(t.status == Status.STOPPED for t in trials),
        running=sum(t.status == "running" for t in trials),
        test_accuracy=statistics.fmean(accuracies) if accuracies else None,
        spread=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        lowest=min(accuracies, default=None),
        highest=max(accuracies, default=None),
        epochs_to_target=statistics.median(epochs) if epochs else None,
        reached_target=len(epochs),
        seconds=statistics.fmean(seconds) if seconds else None,
        forward_seconds=statistics.median(single) if single else None,
        forward_seconds_batched=statistics.median(batched) if batched else None,
        sample=like.sample,
        settings=like.settings,
        interrupted=sum(t.status == Status.INTERRUPTED for t in trials),
    )
