"""Intervals of image pixels along one axis that the units of a feature map see, and how windows change them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

LONGEST_PERIOD = 4096  # positions; resampling by ratios that need more is not followed
EMPTY = 2**40  # the first pixel of an empty interval, whose last pixel is -EMPTY

Interval = tuple[int, int]  # first and last pixel, both seen
Taps = tuple[tuple[int, ...], ...]  # for each phase of a period, the positions that are read


class UnknownFieldError(Exception):
    """The receptive field cannot be followed any further; the text is the reason that the user reads."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """What the unit at position p sees: ``table[p mod period]``, moved by ``shift`` pixels for each period before it.

    Positions may lie outside the map and intervals outside the image: nothing is clipped at a border. An entry is
    None where a unit sees nothing (between the taps of a transposed convolution). In a network of convolutions and
    pooling the period is 1; upsampling and uneven adaptive pooling have longer ones. A shift of 0 with one entry is
    an interval that all units share.
    """

    table: tuple[Interval | None, ...]
    shift: int

    @property
    def jump(self) -> Fraction:
        """Pixels between neighbouring positions."""
        return Fraction(self.shift, len(self.table))

    def at(self, position: int) -> Interval | None:
        """What the unit at ``position`` sees."""
        periods, phase = divmod(position, len(self.table))
        seen = self.table[phase]
        return seen and (seen[0] + periods * self.shift, seen[1] + periods * self.shift)

    def bounds(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """First and last pixel that the units at ``positions`` (int64) see; EMPTY and -EMPTY if they see nothing."""
        table = torch.tensor([seen or (EMPTY, -EMPTY) for seen in self.table], device="cpu")
        seen = table[positions % len(self.table)]
        moved = positions.div(len(self.table), rounding_mode="floor") * self.shift
        return seen[..., 0] + moved, seen[..., 1] + moved

    def resampled(self, taps: Taps, advance: int = 1) -> "Intervals":
        """For units that read these: unit p reads ``taps[p mod len(taps)]`` + p // len(taps) * ``advance``."""
        repeats = len(self.table) // math.gcd(len(self.table), advance)
        period = _checked(repeats * len(taps))
        table = tuple(hull(map(self.at, _sources(taps, advance, position))) for position in range(period))
        return Intervals(table, self.shift * (repeats * advance) // len(self.table))

    def united(self, other: "Intervals", offset: int) -> "Intervals":
        """What either sees; ``other`` is read at position + ``offset``. Both have the same jump."""
        return _united(self, other, offset)


@lru_cache(maxsize=4096)
def _united(first: Intervals, second: Intervals, offset: int) -> Intervals:
    period = _checked(math.lcm(len(first.table), len(second.table)))
    table = tuple(hull((first.at(p), second.at(p + offset))) for p in range(period))
    return Intervals(table, first.shift * (period // len(first.table)))


def _checked(period: int) -> int:
    if period > LONGEST_PERIOD:
        raise UnknownFieldError("its resampling ratios have no common period")
    return period


def _sources(taps: Taps, advance: int, position: int) -> Iterator[int]:
    periods, phase = divmod(position, len(taps))
    return (tap + periods * advance for tap in taps[phase])


def hull(intervals: Iterable[Interval | None]) -> Interval | None:
    """The smallest interval that holds them all."""
    seen = [interval for interval in intervals if interval]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None


def window_taps(kernel: int, padding: int = 0, dilation: int = 1) -> tuple[int, ...]:
    """What the first unit of a convolution or pooling reads."""
    return tuple(t * dilation - padding for t in range(kernel))


def transposed_taps(kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """A transposed convolution: input i reaches output i * stride - padding + t * dilation for each tap t."""
    return tuple(
        tuple(
            (o + padding - t * dilation) // stride for t in range(kernel) if (o + padding - t * dilation) % stride == 0
        )
        for o in range(stride)
    )


def adaptive_taps(size: int, bins: int) -> tuple[Taps, int]:
    """Adaptive pooling: bin i covers floor(i * size / bins) up to, not including, ceil((i + 1) * size / bins)."""
    common = math.gcd(size, bins)
    taps = (tuple(range(i * size // bins, -(-(i + 1) * size // bins))) for i in range(bins // common))
    return tuple(taps), size // common


def interpolation_taps(scale: Fraction, offset: Fraction, reach: Sequence[int]) -> tuple[Taps, int]:
    """Interpolation whose output o reads around source ``o * scale + offset``; a tap with weight 0 is not read.

    ``reach``: which neighbours are read, from the source position rounded down: (0,) for nearest, (0, 1) for
    bilinear, (-1, 0, 1, 2) for bicubic.
    """
    taps = []
    for position in range(_checked(scale.denominator)):
        source = position * scale + offset
        below = math.floor(source)
        taps.append((below,) if source == below else tuple(below + tap for tap in reach))
    return tuple(taps), scale.numerator
