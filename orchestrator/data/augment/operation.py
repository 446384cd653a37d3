"""What the compiled engine runs: operations that sample their parameters and then apply them, a batch at a time."""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor


class Operation(Protocol):
    """One transform for images of one size. Sampling and applying are apart, so that each can be checked alone."""

    @property
    def probability(self) -> float:
        """How often an image is changed, a fraction."""

    @property
    def draws(self) -> int:
        """How many uniform numbers the parameters of one image take."""

    @property
    def neutral(self) -> bool:
        """Whether parameters of 0 leave an image as it is."""

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the images that come out."""

    def sample(self, numbers: Tensor) -> Tensor:
        """numbers: (n, draws) float32, uniform in [0, 1). Returns the parameters of n images, (n, ...)."""

    def prepare(self, parameters: Tensor) -> Tensor:
        """What :meth:`apply` needs of sampled parameters, (n, ...): worked out once for all images of an epoch."""

    def apply(self, images: Tensor, prepared: Tensor) -> Tensor:
        """images: (n, C, H, W) uint8. Returns (n, C, *output_size) uint8 in new memory."""


class AsSampled:
    """An operation that applies its parameters as they were sampled."""

    def prepare(self, parameters: Tensor) -> Tensor:
        """The parameters."""
        return parameters


class UnsupportedError(Exception):
    """A transform is right but has no compiled form; the text says what stands in the way."""


def select(condition: Tensor, chosen: Tensor, otherwise: Tensor) -> Tensor:
    """``chosen`` where the condition holds (bool, or uint8 0 and 1), else ``otherwise``; both uint8; all broadcast.

    Written as arithmetic modulo 256, which gives what torch.where gives and is several times faster on a CPU.
    """
    return (chosen - otherwise).mul_(condition.view(torch.uint8)).add_(otherwise)


def per_image(values: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, 1), to meet a batch of images."""
    return values[:, None, None, None]


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Settings as a tensor that is made once for a device, not at every batch. Never written to."""
    return torch.tensor(values, dtype=dtype, device=device)


@lru_cache(maxsize=256)
def pixels(side: int, device: torch.device) -> Tensor:
    """The coordinates 0 … side-1 of a row of pixels, (side,) float32. Never written to."""
    return torch.arange(side, dtype=torch.float32, device=device)


def in_pixels(low: float, high: float, side: int) -> tuple[float, float]:
    """A span of fractions of ``side`` in pixels; rounded towards 0 here, in double precision, if nothing is drawn."""
    low, high = low * side, high * side
    return (float(int(low)), float(int(high))) if low == high else (low, high)
