"""Curves from files: one measured curve of each variant, which seeds and settings lie around."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RequestError
from orchestrator.reporting.published import read_curve
from orchestrator.simulation.curves import Curve, rounded, stream
from orchestrator.simulation.landscape import Landscape
from orchestrator.simulation.laws import Law
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.text import did_you_mean, listed


class FileCurves:
    """The curve in the file of each variant; of ``law`` they take ``depth``, ``luck`` and ``seconds``.

    The file's own ups and downs are those of every trial. Raises RequestError if a variant has no file, or a file does
    not cover the epochs of the experiment.
    """

    def __init__(self, files: Mapping[str, Path], law: Law, experiment: Experiment, world: str = "0") -> None:
        self.law, self.world = law, world
        labels = [variant.label for variant in experiment.variants]
        for label in files:
            if label not in labels:
                near = did_you_mean(label, labels)
                raise RequestError(f"--curves: {label!r} is none of the variants{near}: {', '.join(labels)}")
        if missing := [label for label in labels if label not in files]:
            raise RequestError(f"--curves: no file for {listed(missing)}; write --curves VARIANT=FILE.csv for each")
        self._landscape = Landscape(experiment.search.space if experiment.search else {}, world)
        self._curves = {label: _read(path, experiment.trainer.epochs) for label, path in files.items()}
        self._names = [path.name for path in files.values()]

    @property
    def description(self) -> str:
        """Where the curves come from."""
        return f"curves of {listed(self._names)}"

    def curve(self, spec: TrialSpec) -> Curve:
        """The curve of the trial's variant, moved by the luck of its seed and by what its settings cost."""
        base = self._curves[spec.label][: spec.trainer.epochs]
        random = stream(self.world, "trial", spec.label, spec.settings, spec.seed)
        cost = self.law.depth * self._landscape.loss(spec.label, spec.settings)
        moved = base - cost + self.law.luck * random.standard_normal()
        return Curve(
            np.clip(moved, 0.0, 1.0).tolist(),
            rounded(moved),
            self.law.seconds,
            float(base[-1]) - cost,
        )

    def best(self, spec: TrialSpec) -> float:
        """The end of the file's curve: its settings count as the best ones."""
        return float(self._curves[spec.label][spec.trainer.epochs - 1])


def _read(path: Path, epochs: int) -> NDArray[np.float64]:
    """Accuracies (fractions) of the epochs from 1 to ``epochs``, linear between those in the file."""
    points = sorted(read_curve(path))
    if not points:
        raise RequestError(f"{path}: holds no epoch")
    first, last = points[0][0], points[-1][0]
    if first > 1 or last < epochs:
        advice = f"; use --set trainer.epochs={last}, or less" if first <= 1 else ""
        raise RequestError(f"{path}: has epochs {first} to {last}, but {epochs} are simulated, from the first{advice}")
    known, values = zip(*points, strict=True)
    return np.asarray(np.interp(np.arange(1, epochs + 1), known, values), np.float64)
