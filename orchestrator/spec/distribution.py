"""The distribution of one searched setting, as an experiment file gives it."""

import math
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.fields import SeveralProblems
from orchestrator.spec.recipe import STRICT

KINDS = ("uniform", "loguniform", "quniform", "qloguniform", "randint", "lograndint", "qrandint", "normal", "choice")
LOGARITHMIC = ("loguniform", "qloguniform", "lograndint")
_MULTIPLES = 1e-9  # how far a bound may be from a multiple of q, in units of q: rounding only


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The distribution of one searched setting: exactly one of these keys but `variants`, named as in Ray Tune."""

    __pydantic_config__ = STRICT

    uniform: tuple[float, float] | None = None
    """`[low, high]`: a number between the two, all equally likely."""
    loguniform: tuple[float, float] | None = None
    """`[low, high]`: a number between the two whose logarithm is uniform; for learning rates and the like."""
    quniform: tuple[float, float, float] | None = None
    """`[low, high, q]`: a uniform number, rounded to a multiple of q; both ends are multiples of q and can be drawn."""
    qloguniform: tuple[float, float, float] | None = None
    """`[low, high, q]`: a number whose logarithm is uniform, rounded to a multiple of q as for quniform."""
    randint: tuple[int, int] | None = None
    """`[low, high]`: an integer from low to high - 1."""
    lograndint: tuple[int, int] | None = None
    """`[low, high]`: an integer from low to high - 1, small ones more likely: the logarithm is uniform."""
    qrandint: tuple[int, int, int] | None = None
    """`[low, high, q]`: a multiple of q from low to high, high included."""
    normal: tuple[float, float] | None = None
    """`[mean, sd]`: a number from the normal distribution, cut off at six standard deviations."""
    choice: tuple[Any, ...] | None = None
    """One of the listed values."""
    variants: tuple[str, ...] | None = None
    """The variants that have this setting; the others are trained without it. null: all."""

    def __post_init__(self) -> None:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise SeveralProblems([f"give exactly one of {', '.join(KINDS)}"])
        if self.variants is not None and not self.variants:
            raise SeveralProblems(["variants: needs at least one; leave it out for all"])
        if self.kind == "choice":
            if not self.choice:
                raise SeveralProblems(["choice: needs at least one value"])
        elif problem := self._problem(*self.numbers):
            raise SeveralProblems([f"{self.kind}: {problem}"])

    @property
    def kind(self) -> str:
        """The one key that is given."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def numbers(self) -> tuple[float, ...]:
        """What is given of a distribution of numbers, such as `[low, high]`; integers are integers."""
        return tuple(getattr(self, self.kind))

    def _problem(self, low: float, high: float, q: float | None = None) -> str | None:
        if not all(map(math.isfinite, self.numbers)):
            return f"every number must be finite, not {list(self.numbers)}"
        if self.kind == "normal":
            return None if high > 0 else f"the standard deviation must be greater than 0, not {high}"
        if not low < high:
            return f"the lower end must be below the upper end, not {list(self.numbers)}"
        if self.kind in LOGARITHMIC and low <= 0:
            return "the lower end must be greater than 0"
        return None if q is None else self._problem_of_step(low, high, q)

    def _problem_of_step(self, low: float, high: float, q: float) -> str | None:
        if q <= 0:
            return f"q must be greater than 0, not {q}"
        if self.kind == "qrandint":
            if q == 1:
                return "q must be at least 2; for every integer write randint: [low, high + 1]"
            return None if -(-low // q) <= high // q else f"no multiple of {q} lies between {low} and {high}"
        if not all(math.isfinite(end / q) for end in (low, high)):
            return f"q, {q}, is too small for {list(self.numbers)}"
        odd = [end for end in (low, high) if abs(end / q - round(end / q)) > _MULTIPLES * max(1.0, abs(end / q))]
        return f"both ends must be multiples of q; {odd[0]} is no multiple of {q}" if odd else None
