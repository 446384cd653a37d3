"""Curves of a launch that has been trained: found again by variant, settings and seed, or drawn among them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.simulation.curves import Curve, stream
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.text import counted, listed

FEWEST_SEEDS = 3  # of a variant; drawn among fewer, seeds spread nothing like new ones


@dataclass(frozen=True)
class RecordedTrial:
    """A trial that was trained to its end, or until a scheduler stopped it; accuracies are fractions."""

    variant: str
    settings: Mapping[str, Any]
    seed: int
    validation: Sequence[float]  # from epoch 1
    seconds: float  # of an epoch
    test: float | None = None  # None: it was not measured, and its best validation accuracy stands in
    stopped: bool = False  # by a scheduler, after the last epoch of ``validation``


class RecordedCurves:
    """The curves in ``trials``.

    If ``exact``, a trial with the variant, settings and seed of a recorded one has its curve. All others, and without
    ``exact`` every trial, get one that is drawn: among those with their variant and settings, or, where these settings
    were never recorded, among those with settings that are drawn too. Raises RequestError if a variant has no trial
    with as many epochs as the experiment trains.
    """

    def __init__(
        self, trials: Sequence[RecordedTrial], experiment: Experiment, source: str, world: str = "0", exact: bool = True
    ) -> None:
        self.description = f"curves recorded by {source}"
        self._world, self._exact, self._source = world, exact, source
        epochs = experiment.trainer.epochs
        self._groups: dict[str, dict[str, list[RecordedTrial]]] = {v.label: {} for v in experiment.variants}
        mine = [trial for trial in trials if trial.variant in self._groups]
        self._recorded, self._cut = len(mine), 0  # trials, and those that were stopped before ``epochs``
        for trial in mine:
            if len(trial.validation) >= epochs:
                self._groups[trial.variant].setdefault(_key(trial.settings), []).append(trial)
            else:
                self._cut += trial.stopped
        if missing := [label for label, groups in self._groups.items() if not groups]:
            raise RequestError(
                f"{source}: has no complete trial of {listed(missing)} with the validation accuracy of each of "
                f"{epochs} epochs; simulate its variants, and at most its epochs (--set trainer.epochs=...)"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """A line if trials were stopped early, and one if the seeds of any variant are too few to be drawn from."""
        found = []
        if self._cut:
            were = "was" if self._cut == 1 else "were"
            found.append(
                f"{self._source}: of {counted(self._recorded, 'recorded trial')}, {self._cut} {were} stopped early by "
                "a scheduler and cannot be replayed: only the better ones are left, so figures of regret and of stops "
                "mean little here"
            )
        seeds = {label: max(map(_seeds, groups.values())) for label, groups in self._groups.items()}
        if few := [f"{label}: {count}" for label, count in seeds.items() if count < FEWEST_SEEDS]:
            found.append(
                f"{self._source}: fewer than {FEWEST_SEEDS} seeds of the same settings recorded ({listed(few)}): "
                "further seeds repeat their curves, so verdicts, rounds and numbers of seeds mean nothing here"
            )
        return tuple(found)

    def curve(self, spec: TrialSpec) -> Curve:
        """The curve of a recorded trial; its truth is the mean over the recorded seeds of the same settings."""
        groups = self._groups[spec.label]
        wanted = _key(spec.settings)
        if wanted not in groups:
            known = sorted(groups)
            wanted = known[int(stream(self._world, "settings", spec.label, spec.settings).integers(len(known)))]
        seeds, epochs = groups[wanted], spec.trainer.epochs
        same = [one for one in seeds if one.seed == spec.seed] if self._exact else []
        drawn = stream(self._world, "seed", spec.label, spec.settings, spec.seed)
        found = same[0] if same else seeds[int(drawn.integers(len(seeds)))]
        validation = found.validation[:epochs]
        measured = fmean(_test(one, epochs) for one in seeds)
        return Curve(validation, [_test(found, epochs)] * epochs, found.seconds, _truth(seeds, epochs), measured)

    def best(self, spec: TrialSpec) -> float:
        """The truth of the best settings that were recorded for the variant."""
        return max(_truth(seeds, spec.trainer.epochs) for seeds in self._groups[spec.label].values())


def _seeds(trials: Sequence[RecordedTrial]) -> int:
    return len({one.seed for one in trials})


def _test(trial: RecordedTrial, epochs: int) -> float:
    return max(trial.validation[:epochs]) if trial.test is None else trial.test


def _truth(seeds: Sequence[RecordedTrial], epochs: int) -> float:
    return fmean(one.validation[epochs - 1] for one in seeds)


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
