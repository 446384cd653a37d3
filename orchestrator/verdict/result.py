"""What the verdict says: each variant's interval, each pair's decision, and the set not told apart from the best."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Decision(StrEnum):
    """What the evidence says of a pair's first variant, the one with the higher mean, against the second."""

    BETTER = "better"
    EQUIVALENT = "equivalent"  # the difference is shown to be smaller than the margin
    SLIGHTLY_BETTER = "better by less than the margin"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class SequentialDesign:
    """A launch in rounds of one seed a variant, which is looked at after each of them."""

    seeds: tuple[Any, ...]  # of the rounds whose trials have all ended, in the order of the rounds
    max_seeds: int  # fixed before the first round


@dataclass(frozen=True)
class VariantScore:
    """One variant over its seeds; accuracies are fractions."""

    variant: str
    n: int  # seeds
    mean: float | None  # None without any
    sd: float | None  # sample standard deviation; None with fewer than two seeds
    low: float | None = None  # interval of the mean: Student's t, or in rounds one that holds at every look
    high: float | None = None  # None without a standard deviation
    seeds: tuple[Any, ...] | None = None  # that these figures are over; None: not known

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        interval = None if self.low is None else [self.low, self.high]
        return {"variant": self.variant, "n": self.n, "mean": self.mean, "sd": self.sd, "interval": interval}


@dataclass(frozen=True)
class Pair:
    """Variant ``a`` against ``b``, ``a`` the one with the higher mean; differences and bounds are fractions."""

    a: str
    b: str
    n: int  # pairs of seeds; of variants with different seeds, the smaller number
    difference: float  # a's mean minus b's
    paired: bool  # by seed; otherwise by Welch's t
    decision: Decision = Decision.UNDECIDED
    low: float | None = None  # simultaneous over all pairs; None without a standard error
    high: float | None = None
    p: float | None = None  # two-sided, of this pair alone
    p_adjusted: float | None = None  # Holm's, over all pairs
    p_sign_flip: float | None = None  # exact permutation test; None below six pairs
    p_a_beats_b: float | None = None  # one run of a against one run of b, ties half
    detectable: float | None = None  # the smallest difference that these seeds show with a power of 0.8; None: none
    more_seeds: int | None = None  # of each, to show this difference; None: decided, unknown, or more than is sensible
    low_new_images: float | None = None  # for other test images and the same seeds; None without predictions
    high_new_images: float | None = None
    low_both: float | None = None  # for other seeds and other test images, at the level that decided the pair
    high_both: float | None = None
    reason: str | None = None  # why there is no interval or no decision

    @property
    def told_apart(self) -> bool:
        """Whether ``a`` is significantly better, by however little."""
        return self.decision in (Decision.BETTER, Decision.SLIGHTLY_BETTER)

    @property
    def holds_for_new_images(self) -> bool | None:
        """Whether the interval for other seeds and other test images excludes zero; None if it is unknown."""
        return None if self.low_both is None else self.low_both > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "decision": str(self.decision)}


@dataclass(frozen=True)
class Verdict:
    """The verdict on some variants: the best first, and every pair that is compared, the best's own first."""

    variants: tuple[VariantScore, ...]
    pairs: tuple[Pair, ...]
    leaders: tuple[str, ...]  # the best, and every variant that is not told apart from it
    confidence: float = 0.95
    margin: float | None = None  # a difference of accuracy (fraction) below which variants count as equivalent
    baseline: str | None = None  # the variant that all others are compared with; None: all pairs
    images: int | None = None  # of the test split, where predictions are known
    front: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by cost: variants that no other dominates
    sentence: str = ""
    rounds: int | None = None  # after each of which the launch was looked at; None: a fixed number of seeds
    max_seeds: int | None = None  # the largest number of rounds, fixed beforehand

    def pair(self, first: str, second: str) -> Pair | None:
        """The comparison of two variants, in either order; None if they are not compared."""
        return next((pair for pair in self.pairs if {pair.a, pair.b} == {first, second}), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        rounds = {} if self.rounds is None else {"rounds": self.rounds, "max_seeds": self.max_seeds}
        return {
            "sentence": self.sentence,
            "leaders": list(self.leaders),
            "confidence": self.confidence,
            "equivalence_margin": self.margin,
            "baseline": self.baseline,
            "test_images": self.images,
            **rounds,
            "variants": [variant.to_dict() for variant in self.variants],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "front": {cost: list(names) for cost, names in self.front.items()},
        }
