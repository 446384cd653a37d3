"""A random search over settings."""

from dataclasses import dataclass
from typing import Annotated, Any

from orchestrator.spec.fields import Range, check
from orchestrator.spec.recipe import STRICT


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The distribution of one searched setting: exactly one of these keys, named as in Ray Tune."""

    __pydantic_config__ = STRICT

    uniform: tuple[float, float] | None = None
    """`[low, high]`: a number between the two, all equally likely."""
    loguniform: tuple[float, float] | None = None
    """`[low, high]`: a number between the two whose logarithm is uniform; for learning rates and the like."""
    randint: tuple[int, int] | None = None
    """`[low, high]`: an integer from low to high - 1."""
    choice: tuple[Any, ...] | None = None
    """One of the listed values."""

    def __post_init__(self) -> None:
        given = [k for k in ("uniform", "loguniform", "randint", "choice") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform, loguniform, randint, choice")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"{given[0]}: the lower end must be below the upper end, not {list(bounds)}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform: the lower end must be greater than 0")
        if self.choice is not None and not self.choice:
            raise ValueError("choice: needs at least one value")


@dataclass(frozen=True, kw_only=True)
class Search:
    """A random search. Every variant and seed is trained with the same draws, so that variants stay comparable."""

    __pydantic_config__ = STRICT

    space: dict[str, Distribution]
    """What to search: dotted path of a setting (`trainer.optimizer.lr`, `arguments.width`) to its distribution."""
    samples: Annotated[int, Range(ge=1, le=10_000)] = 8
    """How many settings to draw; every variant is trained with each of them and every seed. Unit: draws."""
    seed: Annotated[int, Range(ge=0)] = 0
    """Random seed of the draws; training has its own seeds."""

    def __post_init__(self) -> None:
        check(self)
        if not self.space:
            raise ValueError("space: needs at least one setting")
