"""How variants are judged: what counts as a difference, and against which variant."""

from dataclasses import dataclass
from typing import Annotated

from orchestrator.spec.fields import Range, check
from orchestrator.spec.recipe import STRICT
from orchestrator.spec.trial import variant_label


@dataclass(frozen=True, kw_only=True)
class VerdictSettings:
    """How the verdict on the variants is reached. Only `until_decided` changes what is trained."""

    __pydantic_config__ = STRICT

    baseline: str | None = None
    """The variant that every other one is compared with. null: every pair of variants is compared."""
    margin: Annotated[float, Range(gt=0, lt=1)] | None = None
    """Difference of test accuracy below which two variants count as equivalent. null: none does. Unit: fraction."""
    confidence: Annotated[float, Range(gt=0.5, lt=1)] = 0.95
    """Confidence of the intervals, of all together; one minus it is the probability of a wrong "better".
    Unit: fraction."""

    until_decided: bool = False
    """Whether to train in rounds: one more seed of every variant that may still be best, until the verdict is decided.
    `margin` and `max_seeds` then also say what is trained."""
    max_seeds: Annotated[int, Range(ge=3)] = 20
    """Largest number of rounds with `until_decided`. The intervals rest on it: do not change it once a round has been
    seen. Unit: seeds of a variant."""
    max_gpu_seconds: Annotated[float, Range(gt=0)] | None = None
    """With `until_decided`: no further round starts when the trials have trained for this long, counted by the share of
    a GPU that each has. null: no limit. Unit: GPU seconds."""

    def __post_init__(self) -> None:
        check(self)

    def in_words(self) -> str:
        """``baseline none, margin 0.003, confidence 0.95``."""
        baseline = self.baseline and variant_label(self.baseline)
        margin = "none" if self.margin is None else f"{self.margin:g}"
        return f"baseline {baseline or 'none'}, margin {margin}, confidence {self.confidence:g}"
