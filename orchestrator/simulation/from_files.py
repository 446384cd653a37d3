"""Curves from files: one measured curve of each variant, which seeds and settings lie around."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RequestError
from orchestrator.simulation.curve_csv import read_csv
from orchestrator.simulation.curves import Curve, measurable, rounded, stream
from orchestrator.simulation.landscape import Landscape
from orchestrator.simulation.laws import Law
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.text import did_you_mean, listed

USED = "depth", "crossing", "noise", "luck", "seconds"  # constants of the law that these curves take


class FileCurves:
    """The curve in the file of each variant is that of its best settings; of ``law`` those in ``USED`` have an effect.

    Other settings lower the whole curve and change how fast it is passed through, in such a way that its end stays
    where the cost puts it. The file's own ups and downs are those of every trial, and noise is added. Raises
    RequestError if a variant has no file, or a file does not cover the epochs of the experiment.
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
        epochs, read = experiment.trainer.epochs, {label: read_csv(path) for label, path in files.items()}
        self._curves = {
            label: file.to(epochs, tuple(other for other in labels if other != label)) for label, file in read.items()
        }
        self.notes = tuple(note for file in read.values() if (note := file.gaps(epochs)) is not None)
        best = ", taken as those of the best settings" if experiment.search else ""
        self._description = f"curves of {listed([path.name for path in files.values()])}{best}"

    @property
    def description(self) -> str:
        """Where the curves come from."""
        return self._description

    def curve(self, spec: TrialSpec) -> Curve:
        """The curve of the trial's variant, changed by its settings, the luck of its seed, and noise."""
        base = self._curves[spec.label][: spec.trainer.epochs]
        random = stream(self.world, "trial", spec.label, spec.settings, spec.seed)
        slow = 2 ** (self.law.crossing * self._landscape.slowness(spec.label, spec.settings))
        cost = self.law.depth * self._landscape.loss(spec.label, spec.settings)
        mean = passed_through(base, slow) - cost
        moved = mean + self.law.luck * random.standard_normal()
        noise = self.law.noise * random.standard_normal(len(base))
        return Curve(
            np.clip(moved + noise, 0.0, 1.0).tolist(),
            rounded(moved),
            self.law.seconds,
            float(base[-1]) - cost,
            measurable(mean, self.law.noise),
        )

    def best(self, spec: TrialSpec) -> float:
        """The end of the file's curve: its settings count as the best ones."""
        return float(self._curves[spec.label][spec.trainer.epochs - 1])


def passed_through(curve: NDArray[np.float64], slow: float) -> NDArray[np.float64]:
    """``curve``, at its first epochs ``slow`` times slower, and ever less so: its end is reached at the same epoch.

    Epoch e shows what the curve had at epoch e * slow ** -(1 - e / last); before its first epoch it goes on as a
    straight line through its first two.
    """
    last = len(curve)
    epochs = np.arange(1, last + 1)
    shown = np.minimum(epochs * slow ** -(1 - epochs / last), last)
    rise = max(curve[1] - curve[0], 0.0) if last > 1 else 0.0
    found: NDArray[np.float64] = np.interp(shown, epochs, curve) - rise * np.maximum(1 - shown, 0)
    return found
