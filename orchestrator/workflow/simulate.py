"""Simulate an experiment before anything is trained: what it would cost, and how well it would choose."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from orchestrator.records import EPOCH_SECONDS, VAL_ACCURACY, Status
from orchestrator.simulation.curves import Curves, stream
from orchestrator.simulation.figures import Figures, figures, plain
from orchestrator.simulation.from_files import FileCurves
from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.means import Mean, lost
from orchestrator.simulation.recorded import RecordedCurves, RecordedTrial
from orchestrator.simulation.replay import replay
from orchestrator.simulation.seams import undisturbed
from orchestrator.simulation.summary import Summary
from orchestrator.spec import Experiment
from orchestrator.workflow.simulation_words import effective_law, notes, plain_plan

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How an experiment is simulated."""

    workers: int = 8  # trials that train at the same time
    repeat: int = 20  # replays, each with other curves and other draws of the search
    seed: int = 0  # of the worlds: another one is another set of them
    law: Law = field(default_factory=Law)
    files: Mapping[str, Path] = field(default_factory=dict)  # curves, by variant; empty: by the law
    recorded: Sequence[RecordedTrial] = ()  # curves of a launch; empty: by files or by the law
    source: str = ""  # where those were recorded


@dataclass(frozen=True)
class Simulated:
    """An experiment, replayed as it is and with every trial trained to its end."""

    experiment: Experiment
    asked: Asked
    curves: str  # where they come from
    planned: Summary
    whole: Summary | None  # every trial trained to its end; None: the experiment does so itself
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> Mean | None:
        """Regret as planned minus regret with every trial trained to its end, in the same worlds."""
        return None if self.whole is None else lost(self.planned.replays, self.whole.replays)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``--json``."""
        asked = self.asked
        return {
            "experiment": self.experiment.name,
            "plan": plain_plan(self.experiment),
            "workers": asked.workers,
            "repeat": asked.repeat,
            "seed": asked.seed,
            "curves": self.curves,
            "law": effective_law(asked.law, bool(asked.files), bool(asked.source)),
            "notes": list(self.notes),
            "planned": self.planned.to_dict(),
            "whole": None if self.whole is None else self.whole.to_dict(),
            "lost": None if self.lost is None else self.lost.to_dict(),
            "replays": [plain(one) for one in self.planned.replays],
        }


def simulate(experiment: Experiment, asked: Asked, log: Callable[[str], None] = lambda _: None) -> Simulated:
    """Replay ``experiment`` in ``asked.repeat`` worlds. Raises RequestError if there are no curves for it."""
    whole = undisturbed(experiment)
    planned, ends = [], []
    with tempfile.TemporaryDirectory(prefix="simulated-") as home:
        for number in range(asked.repeat):
            curves = _curves(experiment, asked, number)
            planned.append(_replayed(_drawn_again(experiment, asked.seed, number), curves, asked.workers, home))
            if whole != experiment:
                ends.append(_replayed(_drawn_again(whole, asked.seed, number), curves, asked.workers, home))
            log(f"replayed {number + 1} of {asked.repeat}")
    known = tuple(dict.fromkeys([*curves.notes, *notes(experiment, asked.law)]))
    return Simulated(experiment, asked, curves.description, Summary(planned), Summary(ends) if ends else None, known)


def read_recorded(client: "MlflowClient", experiment: str) -> list[RecordedTrial]:
    """The trials of the newest launch in MLflow that are complete, or stopped by a scheduler.

    Raises RequestError if there is no launch.
    """
    from orchestrator.tracking.read import find_launch, read_epochs
    from orchestrator.tracking.trial_rows import read_trials

    found = []
    parent, _, _ = find_launch(client, experiment)
    for row in read_trials(client, parent):
        if row.status not in (Status.COMPLETE, Status.STOPPED):
            continue
        epochs = read_epochs(client, row.run_id, (VAL_ACCURACY, EPOCH_SECONDS))
        curve = [epochs.get(epoch, {}).get(VAL_ACCURACY) for epoch in range(1, max(epochs, default=0) + 1)]
        seconds = [metrics[EPOCH_SECONDS] for metrics in epochs.values() if EPOCH_SECONDS in metrics]
        whole = [value for value in curve if value is not None]
        if seconds and len(whole) == len(curve) and all(map(math.isfinite, [*whole, *seconds])):
            stopped = row.status == Status.STOPPED
            measured = row.test_accuracy
            found.append(RecordedTrial(row.variant, row.settings, row.seed, whole, fmean(seconds), measured, stopped))
    return found


def _curves(experiment: Experiment, asked: Asked, number: int) -> Curves:
    world = f"{asked.seed}.{number}"  # two seeds have no world in common
    if asked.source:
        return RecordedCurves(asked.recorded, experiment, asked.source, world, exact=number == 0)
    if asked.files:
        return FileCurves(asked.files, asked.law, experiment, world)
    return Laws(asked.law, experiment, world)


def _drawn_again(experiment: Experiment, seed: int, number: int) -> Experiment:
    """The experiment with other draws of its search; the first replay has its own."""
    search = experiment.search
    if search is None or not number:
        return experiment
    drawn = stream("search", search.seed, seed, number).integers(2**31)
    return replace(experiment, search=replace(search, seed=int(drawn)))


def _replayed(experiment: Experiment, curves: Curves, workers: int, home: str) -> Figures:
    with tempfile.TemporaryDirectory(dir=home) as folder:
        return figures(replay(experiment, curves, workers, Path(folder)), curves)
