"""Simulate an experiment before anything is trained: what it would cost, and how well it would choose."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.records import EPOCH_SECONDS, VAL_ACCURACY, Status
from orchestrator.simulation.curves import Curves
from orchestrator.simulation.figures import Figures, figures, plain
from orchestrator.simulation.from_files import FileCurves
from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.recorded import RecordedCurves, RecordedTrial
from orchestrator.simulation.replay import replay
from orchestrator.simulation.seams import undisturbed
from orchestrator.simulation.summary import Summary
from orchestrator.spec import Experiment
from orchestrator.text import did_you_mean

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTRACT = "no network is built: the contract is not checked, and no draw is replaced because it breaks it"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How an experiment is simulated."""

    workers: int = 8  # trials that train at the same time
    repeat: int = 20  # replays, each with other curves and other draws of the search
    seed: int = 0  # of the first replay
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

    def to_dict(self) -> dict[str, Any]:
        """The document of ``--json``."""
        law = {one.name: getattr(self.asked.law, one.name) for one in fields(Law)}
        return {
            "experiment": self.experiment.name,
            "workers": self.asked.workers,
            "repeat": self.asked.repeat,
            "seed": self.asked.seed,
            "curves": self.curves,
            "law": law,
            "notes": list(self.notes),
            "planned": self.planned.to_dict(),
            "whole": None if self.whole is None else self.whole.to_dict(),
            "replays": [plain(one) for one in self.planned.replays],
        }


def simulate(experiment: Experiment, asked: Asked, log: Callable[[str], None] = lambda _: None) -> Simulated:
    """Replay ``experiment`` in ``asked.repeat`` worlds. Raises RequestError if there are no curves for it."""
    whole = undisturbed(experiment)
    planned, ends = [], []
    for number in range(asked.repeat):
        world = str(asked.seed + number)
        curves = _curves(experiment, asked, world, first=number == 0)
        planned.append(_replayed(_drawn_again(experiment, number), curves, asked.workers))
        if whole != experiment:
            ends.append(_replayed(_drawn_again(whole, number), curves, asked.workers))
        log(f"replayed {number + 1} of {asked.repeat}")
    notes = (CONTRACT,) if experiment.search is not None and _has_limits(experiment) else ()
    return Simulated(experiment, asked, curves.description, Summary(planned), Summary(ends) if ends else None, notes)


def parse_law(assignments: Sequence[str]) -> Law:
    """The law with ``name=number`` applied. Raises RequestError that names the allowed ones."""
    allowed = [one.name for one in fields(Law)]
    given: dict[str, float] = {}
    for assignment in assignments:
        name, equals, number = assignment.partition("=")
        if name not in allowed or not equals:
            near = did_you_mean(name, allowed)
            raise RequestError(f"--law {assignment}: write NAME=NUMBER{near}; names: {', '.join(allowed)}")
        try:
            given[name] = float(number)
        except ValueError:
            raise RequestError(f"--law {assignment}: {number!r} is not a number") from None
    try:
        return Law(**given)
    except ValueError as problem:
        raise RequestError(f"--law: {problem}") from problem


def parse_files(assignments: Sequence[str], experiment: Experiment) -> dict[str, Path]:
    """Curve files by variant, of ``variant=file.csv``; a file alone is that of the only variant."""
    labels = [variant.label for variant in experiment.variants]
    files: dict[str, Path] = {}
    for assignment in assignments:
        name, equals, path = assignment.rpartition("=")
        if not equals and len(labels) > 1:
            raise RequestError(f"--curves {assignment}: write VARIANT=FILE.csv; variants: {', '.join(labels)}")
        files[name or labels[0]] = Path(path)
    return files


def read_recorded(client: "MlflowClient", experiment: str, launch: str | None = None) -> list[RecordedTrial]:
    """The complete trials of a launch in MLflow. Raises RequestError if there is no such launch."""
    from orchestrator.tracking.read import find_launch, read_epochs, read_trials

    found = []
    parent, _, _ = find_launch(client, experiment, launch)
    for row in read_trials(client, parent):
        if row.status != Status.COMPLETE:
            continue
        epochs = read_epochs(client, row.run_id, (VAL_ACCURACY, EPOCH_SECONDS))
        curve = [epochs.get(epoch, {}).get(VAL_ACCURACY) for epoch in range(1, max(epochs, default=0) + 1)]
        seconds = [metrics[EPOCH_SECONDS] for metrics in epochs.values() if EPOCH_SECONDS in metrics]
        whole = [value for value in curve if value is not None]
        if seconds and len(whole) == len(curve):
            found.append(RecordedTrial(row.variant, row.settings, row.seed, whole, fmean(seconds), row.test_accuracy))
    return found


def _curves(experiment: Experiment, asked: Asked, world: str, first: bool) -> Curves:
    if asked.source:
        return RecordedCurves(asked.recorded, experiment, asked.source, world, exact=first)
    if asked.files:
        return FileCurves(asked.files, asked.law, experiment, world)
    return Laws(asked.law, experiment, world)


def _drawn_again(experiment: Experiment, number: int) -> Experiment:
    """The experiment with other draws of its search; the first replay has its own."""
    search = experiment.search
    if search is None or not number:
        return experiment
    return replace(experiment, search=replace(search, seed=search.seed + number))


def _replayed(experiment: Experiment, curves: Curves, workers: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="simulated-") as folder:
        return figures(replay(experiment, curves, workers, Path(folder)), curves)


def _has_limits(experiment: Experiment) -> bool:
    return experiment.contract != type(experiment.contract)()
