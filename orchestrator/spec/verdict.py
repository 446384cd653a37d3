"""How variants are judged: what counts as a difference, and against which variant."""

from dataclasses import dataclass
from typing import Annotated

from orchestrator.spec.fields import Range, check
from orchestrator.spec.recipe import STRICT


@dataclass(frozen=True, kw_only=True)
class VerdictSettings:
    """How the verdict on the variants is reached. No setting changes what is trained."""

    __pydantic_config__ = STRICT

    baseline: str | None = None
    """The variant that every other one is compared with. null: every pair of variants is compared."""
    margin: Annotated[float, Range(gt=0, lt=1)] | None = None
    """Difference of test accuracy below which two variants count as equivalent. null: none does. Unit: fraction."""
    confidence: Annotated[float, Range(gt=0.5, lt=1)] = 0.95
    """Confidence of the intervals, of all together; one minus it is the probability of a wrong "better".
    Unit: fraction."""

    def __post_init__(self) -> None:
        check(self)
