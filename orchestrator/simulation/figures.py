"""What a replayed launch cost and what it found, against the truth of its curves."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.records import Status, TrialRow
from orchestrator.selection import selected_trials
from orchestrator.simulation.curves import Curves
from orchestrator.simulation.replay import Replayed
from orchestrator.simulation.seams import verdict_on
from orchestrator.spec import TrialSpec
from orchestrator.spec.trial import CONFIRM, SEARCH
from orchestrator.verdict import Decision, Verdict


@dataclass(frozen=True)
class Choice:
    """The settings that a search has chosen for one variant; accuracies are true ones, fractions."""

    truth: float  # of the chosen settings
    best_tried: float  # of the best among those that were tried
    best: float | None  # of the best there are; None: unknown

    @property
    def is_best(self) -> bool:
        """Whether none of the settings that were tried is truly better."""
        return self.truth >= self.best_tried


@dataclass(frozen=True)
class Figures:
    """One replayed launch."""

    trials: int
    epochs: int
    work_seconds: float  # simulated, of all workers together
    seconds: float  # simulated, from the beginning to the end
    workers: int  # most trials that trained at the same time
    stopped: Mapping[int, int]  # trials that were stopped, by epoch
    choices: Mapping[str, Choice]  # of a search, by variant
    seeds: Mapping[str, int]  # trials of each variant that are compared
    truths: Mapping[str, float]  # of each compared variant, with the settings that it is compared by: Curve.measurable
    verdict: Verdict | None  # None: nothing can be compared
    said: tuple[str, ...]  # what stages and rounds have decided, in words

    @property
    def best_variants(self) -> tuple[str, ...]:
        """The truly best variant; several if they are equal."""
        best = max(self.truths.values(), default=0.0)
        return tuple(variant for variant, truth in self.truths.items() if truth == best)

    @property
    def leaders(self) -> tuple[str, ...]:
        """The variants that the verdict does not tell apart from the best."""
        return self.verdict.leaders if self.verdict else ()

    @property
    def rounds(self) -> int:
        """Seeds of the variant that has most."""
        return max(self.seeds.values(), default=0)

    @property
    def is_decided(self) -> bool:
        """Whether the verdict shows the best variant, or several to be equivalent that no other one is better than.

        With a baseline: whether it shows of every other variant how it compares with it.
        """
        pairs = self.verdict.pairs if self.verdict else ()
        if self.verdict and self.verdict.baseline:
            return bool(pairs) and all(pair.decision is not Decision.UNDECIDED for pair in pairs)
        open_pairs = [{pair.a, pair.b} for pair in pairs if pair.decision is Decision.UNDECIDED]
        return bool(pairs) and not any(pair <= set(self.leaders) for pair in open_pairs)

    @property
    def wrong(self) -> int:
        """Pairs of variants of which the truly worse one, or an equal one, is called better."""
        pairs = self.verdict.pairs if self.verdict else ()
        return sum(pair.told_apart and self.truths[pair.a] <= self.truths[pair.b] for pair in pairs)


def figures(done: Replayed, curves: Curves) -> Figures:
    """Count what ``done`` cost, and compare what it chose with the truth."""
    results = done.results.values()
    compared = _compared(done)
    scores: dict[str, dict[int, float]] = {}
    truths: dict[str, float] = {}
    for spec in compared:
        curve = curves.curve(spec)
        scores.setdefault(spec.label, {})[spec.seed] = curve.measured(done.results[spec.name].epochs)
        truths[spec.label] = curve.measurable
    comparable = len(scores) > 1
    return Figures(
        trials=len(done.results),
        epochs=sum(result.epochs for result in results),
        work_seconds=sum(result.seconds for result in results),
        seconds=done.seconds,
        workers=done.workers,
        stopped=dict(sorted(Counter(r.epochs for r in results if r.status is Status.STOPPED).items())),
        choices=_choices(done, curves),
        seeds={variant: len(seeds) for variant, seeds in scores.items()},
        truths=truths,
        verdict=verdict_on(done.plan.experiment, scores, _rounds(done, compared)) if comparable else None,
        said=done.said,
    )


def _compared(done: Replayed) -> list[TrialSpec]:
    """The complete trials that variants are compared by: of the last stage, of a search the chosen settings."""
    complete = [spec for spec in done.plan.trials if done.results[spec.name].status is Status.COMPLETE]
    confirming = [spec for spec in complete if spec.stage == CONFIRM]
    if confirming or done.plan.experiment.search is None:
        return confirming or complete
    chosen = _chosen(done)
    return [spec for spec in complete if spec.sample == chosen.get(spec.label)]


def _rounds(done: Replayed, compared: list[TrialSpec]) -> list[int] | None:
    """The seeds of the rounds, in order; None if the launch was not trained in rounds."""
    if not done.plan.experiment.verdict.until_decided:
        return None
    return list(dict.fromkeys(spec.seed for spec in compared))


def _chosen(done: Replayed) -> dict[str, int | None]:
    """By variant, the sample that its search has chosen, as in a real launch: by validation accuracy alone."""
    rows = [
        TrialRow(
            spec.name,
            "",
            spec.label,
            spec.seed,
            str(done.results[spec.name].status),
            val_accuracy=done.results[spec.name].val_accuracy,
            sample=spec.sample,
            stage=spec.stage,
        )
        for spec in done.plan.trials
        if spec.stage
    ]
    return {variant: trials[0].sample for variant, trials in selected_trials(rows).items() if trials}


def _choices(done: Replayed, curves: Curves) -> dict[str, Choice]:
    found = {}
    searched = [spec for spec in done.plan.trials if spec.stage == SEARCH]
    for variant, sample in _chosen(done).items():
        tried = {spec.sample: spec for spec in searched if spec.label == variant}
        truths = {k: curves.curve(spec).truth for k, spec in tried.items()}
        found[variant] = Choice(truths[sample], max(truths.values()), curves.best(tried[sample]))
    return found


def plain(found: Figures) -> dict[str, Any]:
    """One replayed launch as JSON values."""
    return {
        "trials": found.trials,
        "epochs": found.epochs,
        "work_seconds": found.work_seconds,
        "seconds": found.seconds,
        "workers_used": found.workers,
        "stopped": {str(epoch): count for epoch, count in found.stopped.items()},
        "choices": {
            variant: {"truth": one.truth, "best_tried": one.best_tried, "best": one.best}
            for variant, one in found.choices.items()
        },
        "seeds": dict(found.seeds),
        "truths": dict(found.truths),
        "leaders": list(found.leaders),
        "wrong_decisions": found.wrong,
        "course": list(found.said),
        "verdict": found.verdict.sentence if found.verdict else None,
    }
