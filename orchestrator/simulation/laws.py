"""Curves by a law: power laws whose constants depend on variant, settings and seed only, so that the truth is known."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np

from orchestrator.simulation.curves import Curve, measurable, rounded, stream
from orchestrator.simulation.landscape import Landscape
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.spec.fields import Range, check

Share = Annotated[float, Range(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Law:
    """The constants that the curves of all trials are drawn around; accuracies are fractions."""

    best: Annotated[float, Range(gt=0, le=1)] = 0.9  # what the best possible variant comes to with the best settings
    spread: Share = 0.03  # how far the variants lie below that, at most
    depth: Share = 0.1  # what a searched setting costs at the far end of its range
    gain: Annotated[float, Range(gt=0, le=1)] = 0.5  # how far a curve rises from before the first epoch
    tau: Annotated[float, Range(ge=0.01, le=10_000)] = 3.0  # epochs after which it has slowed down
    alpha: Annotated[float, Range(ge=0.01, le=10)] = 1.2  # exponent of the power law
    crossing: Annotated[float, Range(ge=0, le=10)] = 1.5  # settings make tau at most 2 ** crossing times larger or less
    noise: Share = 0.005  # standard deviation of the validation accuracy of one epoch
    luck: Share = 0.004  # standard deviation between seeds
    seconds: Annotated[float, Range(ge=0.001, le=1_000_000)] = 10.0  # of an epoch; variants take half to twice as long

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Constants:
    """Of one variant."""

    asymptote: float
    gain: float
    tau: float
    alpha: float
    seconds: float


class Laws:
    """Validation accuracy is ``asymptote - gain * (1 + epoch / tau) ** -alpha``, and noise.

    Settings lower the whole curve by a bowl and change ``tau``, in such a way that the last epoch without noise stays
    where the bowl puts it: early accuracies mislead, final ones do not. ``world`` draws all constants afresh.
    """

    def __init__(self, law: Law, experiment: Experiment, world: str = "0") -> None:
        self.law, self.world = law, world
        self._landscape = Landscape(experiment.search.space if experiment.search else {}, world)
        self._constants = cache(self._draw)

    @property
    def description(self) -> str:
        """Where the curves come from."""
        return "curves by a power law"

    @property
    def notes(self) -> tuple[str, ...]:
        """None: a law holds for every experiment."""
        return ()

    def curve(self, spec: TrialSpec) -> Curve:
        """The curve of a trial; of the recipe only the number of epochs and what was searched have an effect."""
        own, epochs = self._constants(spec.label), np.arange(1, spec.trainer.epochs + 1)
        slow = 2 ** (self.law.crossing * self._landscape.slowness(spec.label, spec.settings))
        truth = self._final(spec) - self.law.depth * self._landscape.loss(spec.label, spec.settings)
        rise = (1 + epochs / (own.tau * slow)) ** -own.alpha
        random = stream(self.world, "trial", spec.label, spec.settings, spec.seed)
        fall = own.gain * (rise - rise[-1])
        lucky = truth + self.law.luck * random.standard_normal() - fall
        noise = self.law.noise * random.standard_normal(len(epochs))
        return Curve(
            np.clip(lucky + noise, 0.0, 1.0).tolist(),
            rounded(lucky),
            own.seconds,
            truth,
            measurable(truth - fall, self.law.noise),
        )

    def best(self, spec: TrialSpec) -> float:
        """The truth of the variant at the bottom of every bowl."""
        return self._final(spec)

    def _final(self, spec: TrialSpec) -> float:
        own = self._constants(spec.label)
        return float(own.asymptote - own.gain * (1 + spec.trainer.epochs / own.tau) ** -own.alpha)

    def _draw(self, variant: str) -> _Constants:
        law, random = self.law, stream(self.world, "variant", variant)
        return _Constants(
            asymptote=law.best - law.spread * random.random(),
            gain=law.gain * random.uniform(0.8, 1.2),
            tau=law.tau * 2 ** random.uniform(-0.5, 0.5),
            alpha=law.alpha * random.uniform(0.9, 1.1),
            seconds=law.seconds * 2 ** random.uniform(-1, 1),
        )
