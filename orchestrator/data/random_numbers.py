"""Random numbers without a state: a number is a function of (seed, epoch, sample index, draw number), nothing else.

The generator is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014), written in
int64 tensor arithmetic, which wraps around on every device: the same numbers come out of a CPU and of a GPU.
"""

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    """The int64 with the same 64 bits as ``value``."""
    value &= _MASK
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, made odd: the step between two draws
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """``bits`` moved right by ``count`` with zeros moving in; torch itself would copy the sign."""
    return (bits >> count).bitwise_and_((1 << (64 - count)) - 1)


def mix(bits: Tensor) -> Tensor:
    """Scramble int64s so that every bit of a result depends on every bit of its argument; one-to-one."""
    bits = _shifted(bits, 30).bitwise_xor_(bits).mul_(_FIRST)
    bits = _shifted(bits, 27).bitwise_xor_(bits).mul_(_SECOND)
    return _shifted(bits, 31).bitwise_xor_(bits)


def mix_one(bits: int) -> int:
    """What :func:`mix` does, for one number."""
    bits &= _MASK
    bits = ((bits ^ bits >> 30) * _FIRST) & _MASK
    bits = ((bits ^ bits >> 27) * _SECOND) & _MASK
    return _signed(bits ^ bits >> 31)


def random_bits(seed: int, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """Draws 0, 1, … of every image; a draw is the same however many are asked for, and in whatever batch.

    Each (seed, epoch) begins a stream, of which image i owns the numbers from i * 2**20 on.
    indices: (B,) int64, from 0 to 2**43. Returns (B, draws) int64, on the same device.
    """
    start = mix_one((mix_one(seed * _GAMMA) + epoch) * _GAMMA)
    numbers = torch.arange(1, draws + 1, device=indices.device).mul_(_GAMMA).add_(start)
    return mix((indices * _signed(_GAMMA << 20))[:, None] + numbers)


def uniform(seed: int, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """:func:`random_bits` as fractions from 0 (included) to 1 (not included), in steps of 2**-24; float32."""
    return _shifted(random_bits(seed, epoch, indices, draws), 40).to(torch.float32).mul_(2.0**-24)


def integers(numbers: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    """Uniform numbers in [0, 1) made into whole numbers from ``low`` to ``high``, both included; int64."""
    return (numbers * (high - low + 1)).to(torch.int64) + low
