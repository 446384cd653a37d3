"""Figures of many replays of one experiment, each in another world: medians, ranges and counts."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.simulation.figures import Choice, Figures
from orchestrator.simulation.means import Mean, mean_regret


@dataclass(frozen=True)
class Spread:
    """Median and range of one figure over the replays."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Of at least one value."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])


@dataclass(frozen=True)
class Summary:
    """The same experiment, replayed once in each of several worlds."""

    replays: Sequence[Figures]

    def spread(self, figure: Callable[[Figures], float]) -> Spread:
        """Of a figure of each replay."""
        return Spread.of(map(figure, self.replays))

    @property
    def stopped(self) -> dict[int, Spread]:
        """How many trials were stopped, by epoch."""
        epochs = sorted({epoch for one in self.replays for epoch in one.stopped})
        return {epoch: Spread.of(one.stopped.get(epoch, 0) for one in self.replays) for epoch in epochs}

    @property
    def choices(self) -> list[Choice]:
        """What the searches have chosen, over all variants and replays."""
        return [choice for one in self.replays for choice in one.choices.values()]

    @property
    def found(self) -> float | None:
        """Which part of the searches has chosen the truly best of the settings that were tried; None: no search."""
        return statistics.fmean(choice.is_best for choice in self.choices) if self.choices else None

    @property
    def regret(self) -> Spread | None:
        """How far the chosen settings lie below the truly best of those that were tried (fraction)."""
        return Spread.of(one.best_tried - one.truth for one in self.choices) if self.choices else None

    @property
    def mean_regret(self) -> Mean | None:
        """The same as a mean over the replays."""
        return mean_regret(self.replays)

    @property
    def regret_of_all(self) -> Spread | None:
        """How far they lie below the best that there are; None where that is unknown."""
        known = [one.best - one.truth for one in self.choices if one.best is not None]
        return Spread.of(known) if known else None

    @property
    def seeds(self) -> dict[str, Spread]:
        """How many trials of each variant are compared."""
        variants = list(dict.fromkeys(variant for one in self.replays for variant in one.seeds))
        return {variant: Spread.of(one.seeds.get(variant, 0) for one in self.replays) for variant in variants}

    @property
    def rounds(self) -> Spread:
        """Seeds of the variant that has most."""
        return self.spread(lambda one: one.rounds)

    @property
    def decided(self) -> int:
        """Replays whose verdict shows the best variant, or that the leaders are equivalent."""
        return sum(one.is_decided for one in self.replays)

    @property
    def compared(self) -> int:
        """Replays with a verdict."""
        return sum(one.verdict is not None for one in self.replays)

    @property
    def best_leads(self) -> int:
        """Replays in which the truly best variant is among the verdict's leaders."""
        return sum(not set(one.best_variants).isdisjoint(one.leaders) for one in self.replays if one.verdict)

    @property
    def best_alone(self) -> int:
        """Replays in which the truly best variant is the only leader: it is shown to be the best."""
        return sum(set(one.leaders) <= set(one.best_variants) for one in self.replays if one.verdict and one.leaders)

    @property
    def wrong(self) -> int:
        """Replays in which any variant is called better than one that is as good or better."""
        return sum(one.wrong > 0 for one in self.replays)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; accuracies are fractions."""
        return {
            "trials": asdict(self.spread(lambda one: one.trials)),
            "epochs": asdict(self.spread(lambda one: one.epochs)),
            "work_seconds": asdict(self.spread(lambda one: one.work_seconds)),
            "seconds": asdict(self.spread(lambda one: one.seconds)),
            "workers_used": asdict(self.spread(lambda one: one.workers)),
            "stopped": {str(epoch): asdict(count) for epoch, count in self.stopped.items()},
            "best_settings_found": self.found,
            "regret": None if self.regret is None else asdict(self.regret),
            "mean_regret": None if self.mean_regret is None else asdict(self.mean_regret),
            "regret_of_all": None if self.regret_of_all is None else asdict(self.regret_of_all),
            "seeds": {variant: asdict(count) for variant, count in self.seeds.items()},
            "rounds": asdict(self.rounds),
            "verdicts": self.compared,
            "decided": self.decided,
            "best_variant_leads": self.best_leads,
            "best_variant_alone": self.best_alone,
            "wrong_verdicts": self.wrong,
        }
