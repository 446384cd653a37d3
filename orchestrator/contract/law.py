"""Which input positions a unit sees along one axis: a law from a unit's position to an interval, and its algebra."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LONGEST_PERIOD = 4096  # positions; resampling by ratios that need more is not followed

Interval = tuple[int, int]  # first and last input position, both seen


class Unfollowable(Exception):  # noqa: N818 - not an error: a reason, caught where the analysis stops
    """Where exact following ends, and why; the text is shown as the reason for a figure that is None."""


@dataclass(frozen=True, slots=True)
class Law:
    """What the unit at position p sees: ``table[p mod period]``, moved by ``shift`` input positions each period.

    Positions may lie outside the map and intervals outside the image: nothing is clipped at a border. An entry is
    None where a unit sees nothing (between the taps of a transposed convolution). A convolution has period 1 and its
    jump as shift; upsampling and uneven adaptive pooling have longer periods.
    """

    table: tuple[Interval | None, ...]
    shift: int

    @property
    def jump(self) -> Fraction:
        """Input positions between the centres of neighbouring units."""
        return Fraction(self.shift, len(self.table))

    def at(self, position: int) -> Interval | None:
        """What the unit at ``position`` sees."""
        periods, phase = divmod(position, len(self.table))
        seen = self.table[phase]
        return seen and (seen[0] + periods * self.shift, seen[1] + periods * self.shift)

    def taken(self, resampling: "Resampling") -> "Law":
        """The law of units that take from these units by ``resampling``."""
        repeats = len(self.table) // math.gcd(len(self.table), resampling.advance)
        period = repeats * len(resampling.taps)
        if period > LONGEST_PERIOD:
            raise Unfollowable("its resampling ratios have no common period")
        table = tuple(hull(map(self.at, resampling.sources(position))) for position in range(period))
        return Law(table, self.shift * (repeats * resampling.advance) // len(self.table))

    def with_period(self, period: int) -> "Law":
        """The same law written with a longer period, a multiple of its own."""
        return Law(tuple(self.at(p) for p in range(period)), self.shift * (period // len(self.table)))


@dataclass(frozen=True, slots=True)
class Resampling:
    """Which source positions each new position takes from: ``taps`` of one period, moved by ``advance`` each period."""

    taps: tuple[tuple[int, ...], ...]
    advance: int

    def sources(self, position: int) -> Iterable[int]:
        """The source positions of the new ``position``."""
        periods, phase = divmod(position, len(self.taps))
        return (tap + periods * self.advance for tap in self.taps[phase])

    @property
    def is_identity(self) -> bool:
        """Whether every position takes from itself only."""
        return self.taps == ((0,),) and self.advance == 1


def window(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Resampling:
    """A sliding window: convolution, pooling, and with a kernel of 1 padding and strided slicing."""
    return Resampling((tuple(t * dilation - padding for t in range(kernel)),), stride)


def transposed_window(kernel: int, stride: int, padding: int, dilation: int) -> Resampling:
    """A transposed convolution: input i reaches output i * stride - padding + t * dilation for each tap t."""
    reached = [
        tuple(
            (o + padding - t * dilation) // stride for t in range(kernel) if (o + padding - t * dilation) % stride == 0
        )
        for o in range(stride)
    ]
    return Resampling(tuple(reached), 1)


def adaptive_bins(size: int, bins: int) -> Resampling:
    """Adaptive pooling: bin i covers floor(i * size / bins) up to, not including, ceil((i + 1) * size / bins)."""
    common = math.gcd(size, bins)
    period = bins // common
    taps = (tuple(range(i * size // bins, -(-(i + 1) * size // bins))) for i in range(period))
    return Resampling(tuple(taps), size // common)


def interpolation(scale: Fraction, offset: Fraction, reach: str) -> Resampling:
    """Upsampling whose output o reads around source ``o * scale + offset``; a tap with weight 0 is not read.

    ``reach``: ``nearest`` reads the position below, ``linear`` its two neighbours, ``cubic`` its four.
    """
    period = scale.denominator
    if period > LONGEST_PERIOD:
        raise Unfollowable("its scale factor is not a simple ratio")
    around = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[reach]
    taps = []
    for position in range(period):
        source = position * scale + offset
        below = math.floor(source)
        taps.append((below,) if source == below else tuple(below + tap for tap in around))
    return Resampling(tuple(taps), scale.numerator)


def hull(intervals: Iterable[Interval | None]) -> Interval | None:
    """The smallest interval that holds them all."""
    seen = [interval for interval in intervals if interval]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None


def size(interval: Interval | None) -> int:
    """How many positions an interval holds."""
    return interval[1] - interval[0] + 1 if interval else 0


@lru_cache(maxsize=4096)
def joined(first: Law, second: Law, widest: bool) -> Law:
    """Two laws of one jump as one: what either sees or, if not ``widest``, the smaller field position by position."""
    period = math.lcm(len(first.table), len(second.table))
    if period > LONGEST_PERIOD:
        raise Unfollowable("its resampling ratios have no common period")
    pairs = zip(first.with_period(period).table, second.with_period(period).table, strict=True)
    pick = hull if widest else _smallest
    return Law(tuple(pick(pair) for pair in pairs), first.with_period(period).shift)


def _smallest(intervals: Sequence[Interval | None]) -> Interval | None:
    return min((interval for interval in intervals if interval), key=size, default=None)
