"""Flips, quarter turns and the transposition: the eight symmetries of a square, exact to the bit."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.augment.operation import AsSampled, UnsupportedError, constant, per_image, select
from orchestrator.data.random_numbers import integers

# A symmetry is a set of three steps, always taken in this order.
TRANSPOSE, UPSIDE_DOWN, LEFT_RIGHT = 1, 2, 4

# What each transform draws from, every entry equally likely.
SYMMETRIES = {
    "HorizontalFlip": (LEFT_RIGHT,),
    "VerticalFlip": (UPSIDE_DOWN,),
    "Transpose": (TRANSPOSE,),
    # by 0, 90, 180 and 270 degrees, counter-clockwise
    "RandomRotate90": (0, TRANSPOSE | UPSIDE_DOWN, UPSIDE_DOWN | LEFT_RIGHT, TRANSPOSE | LEFT_RIGHT),
    "D4": tuple(range(8)),
    "SquareSymmetry": tuple(range(8)),
}


@dataclass(frozen=True)
class Symmetry(AsSampled):
    """One symmetry an image, drawn from ``choices``. Parameters: (n,) int64, sets of steps."""

    probability: float
    choices: tuple[int, ...]
    output_size: tuple[int, int]
    neutral: bool = True

    @property
    def draws(self) -> int:
        """One, unless there is nothing to choose."""
        return int(len(self.choices) > 1)

    def sample(self, numbers: Tensor) -> Tensor:
        """numbers: (n, draws). Returns (n,) int64."""
        choices = constant(self.choices, numbers.device, torch.int64)
        if not self.draws:
            return choices.expand(len(numbers))
        return choices[integers(numbers[:, 0], 0, len(self.choices) - 1)]

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """images: (n, C, H, W) uint8; parameters: (n,) int64."""
        for step in (TRANSPOSE, UPSIDE_DOWN, LEFT_RIGHT):
            taken = [bool(choice & step) for choice in self.choices]
            if all(taken) and self.probability == 1:
                images = _take(step, images)
            elif any(taken):
                images = select(per_image(parameters & step > 0), _take(step, images), images)
        return images


def _take(step: int, images: Tensor) -> Tensor:
    """One step for every image; images: (n, C, H, W)."""
    if step == TRANSPOSE:
        return images.transpose(2, 3)
    return torch.flip(images, (2 if step == UPSIDE_DOWN else 3,))


def build(name: str, settings: dict[str, Any], size: tuple[int, int]) -> Symmetry:
    """The transform ``name`` for images of ``size`` (height, width). Raises UnsupportedError if not square."""
    choices = SYMMETRIES[name]
    if size[0] != size[1] and any(choice & TRANSPOSE for choice in choices):
        raise UnsupportedError(f"turns images that are not square ({size[0]} × {size[1]})")
    return Symmetry(settings["p"], choices, size)
