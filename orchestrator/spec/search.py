"""A search over settings, and its second stage: each variant's best ones, with seeds that nothing was chosen by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from orchestrator.spec.distribution import Distribution
from orchestrator.spec.fields import Range, SeveralProblems, check
from orchestrator.spec.recipe import STRICT, Count
from orchestrator.spec.trial import variant_label
from orchestrator.text import did_you_mean

SAMPLES = 8  # of a random search or of TPE that does not say how many
MOST_SAMPLES = 10_000
CONCURRENCY = 4  # suggestions of TPE whose trials may train at the same time


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search over settings. Every seed is trained with each of the settings that it tries."""

    __pydantic_config__ = STRICT

    name: Literal["random", "grid", "tpe"] = "random"
    """random: settings are drawn. grid: every combination of the listed values, in order. tpe: settings are suggested
    by the validation accuracies of earlier ones (tree-structured Parzen estimator, Optuna's)."""
    space: dict[str, Distribution]
    """What to search: dotted path of a setting (`trainer.optimizer.lr`, `arguments.width`) to its distribution."""
    samples: Annotated[int, Range(ge=1, le=MOST_SAMPLES)] | None = None
    """How many settings to try; every variant is trained with that many, and with every seed. null: 8, of a grid every
    combination. Unit: settings."""
    per: Literal["shared", "variant"] = "shared"
    """shared: all variants are trained with the same settings. variant: each variant gets as many settings of its own,
    which for tpe follow its own accuracies."""
    points: tuple[dict[str, Any], ...] = ()
    """Settings to try first, by dotted path; what one leaves out is drawn. They count among the samples."""
    seed: Annotated[int, Range(ge=0)] = 0
    """Random seed of the draws; training has its own seeds."""
    concurrency: Count | None = None
    """tpe: how many suggestions may train at the same time; each is made without the results of the concurrency - 1
    before it. null: 4. Unit: suggestions."""

    def __post_init__(self) -> None:
        check(self)
        problems = []
        if not self.space:
            problems.append("space: needs at least one setting")
        if self.concurrency is not None and self.name != "tpe":
            problems.append(f"concurrency: only for tpe; {self.name} waits for no results")
        if self.points and self.name == "grid":
            problems.append("points: not for grid, which tries every combination; put the values into the space")
        if len(self.points) > self.limit:
            problems.append(f"points: {len(self.points)} are more than samples, {self.limit}")
        problems += [f"points.{i}: needs at least one setting" for i, point in enumerate(self.points) if not point]
        if problems:
            raise SeveralProblems(problems)

    @property
    def limit(self) -> int:
        """Largest number of settings that a variant is trained with."""
        return self.samples or (MOST_SAMPLES if self.name == "grid" else SAMPLES)

    @property
    def in_flight(self) -> int:
        """How many suggestions of TPE may train at the same time."""
        return self.concurrency or CONCURRENCY


def unknown_variants(search: Search, labels: Sequence[str]) -> list[str]:
    """What is wrong with the variants that distributions name, one line each; ``labels`` are the experiment's."""
    return [
        f"search.space.{path}.variants: {name!r} is none of the variants{did_you_mean(name, labels)}: "
        f"{', '.join(labels)}"
        for path, distribution in search.space.items()
        for name in distribution.variants or ()
        if variant_label(name) not in labels
    ]


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """Train each variant's best settings of a search afresh; only these trials are measured and compared."""

    __pydantic_config__ = STRICT

    seeds: tuple[Annotated[int, Range(ge=0, lt=2**31)], ...]
    """Random seeds of these trials; none of them may be one of the search."""

    def __post_init__(self) -> None:
        check(self)
        if not self.seeds:
            raise SeveralProblems(["seeds: needs at least one"])
        if twice := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            raise SeveralProblems([f"seeds: listed twice: {', '.join(map(str, twice))}"])
