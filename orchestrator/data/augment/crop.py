"""Padding and random crops: whole pixels only, exact to the bit."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.augment.arguments import CONSTANT, REFLECT, REFLECT_101, REPLICATE
from orchestrator.data.augment.operation import AsSampled, UnsupportedError, constant
from orchestrator.data.random_numbers import integers


def source(position: int, side: int, border: int) -> int:
    """Which pixel of a row of ``side`` pixels stands at ``position``, inside or outside of it; OpenCV's borders."""
    if border == REPLICATE or side == 1:
        return min(max(position, 0), side - 1)
    if border == REFLECT:  # cba|abc|cba
        position %= 2 * side
        return min(position, 2 * side - 1 - position)
    if border == REFLECT_101:  # cb|abc|ba
        position %= 2 * side - 2
        return min(position, 2 * side - 2 - position)
    return position % side  # wrap


@dataclass(frozen=True)
class Padding(AsSampled):
    """Pixels added around every image. It takes no parameters: (n, 0)."""

    size: tuple[int, int]
    top: int
    bottom: int
    left: int
    right: int
    border: int
    fill: tuple[float, float, float]
    probability: float = 1.0
    draws: int = 0
    neutral: bool = False

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width with the padding."""
        return self.size[0] + self.top + self.bottom, self.size[1] + self.left + self.right

    def sample(self, numbers: Tensor) -> Tensor:
        """Nothing to draw."""
        return numbers

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """images: (n, C, H, W) uint8. Returns (n, C, *output_size) uint8."""
        height, width = self.size
        if self.border == CONSTANT:
            background = tuple(round(level) for level in self.fill[: images.shape[1]])
            canvas = constant(background, images.device, torch.uint8)[:, None, None]
            canvas = canvas.repeat(len(images), 1, *self.output_size)
            canvas[:, :, self.top : self.top + height, self.left : self.left + width] = images
            return canvas
        for dim, before, after, side in ((2, self.top, self.bottom, height), (3, self.left, self.right, width)):
            taken = tuple(source(position, side, self.border) for position in range(-before, side + after))
            images = images.index_select(dim, constant(taken, images.device, torch.int64))
        return images


@dataclass(frozen=True)
class Crop(AsSampled):
    """A window of every image. Parameters: (n, 2) int64, its first row and column."""

    probability: float
    size: tuple[int, int]
    output_size: tuple[int, int]
    draws: int = 2
    neutral: bool = False

    def sample(self, numbers: Tensor) -> Tensor:
        """numbers: (n, 2). Returns (n, 2) int64: every position at which the window fits is equally likely."""
        room = [whole - part for whole, part in zip(self.size, self.output_size, strict=True)]
        return torch.stack([integers(numbers[:, i], 0, room[i]) for i in (0, 1)], dim=1)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """images: (n, C, H, W) uint8; parameters: (n, 2) int64. Returns (n, C, *output_size) uint8."""
        height, width = self.output_size
        windows = images.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(len(images), device=images.device), :, parameters[:, 0], parameters[:, 1]]


def build_padding(settings: dict[str, Any], size: tuple[int, int]) -> list[Padding]:
    """PadIfNeeded for images of ``size``; nothing if they are large enough. Raises UnsupportedError."""
    before, after = [], []
    for side, axis in zip(size, ("height", "width"), strict=True):
        least, divisor = settings[f"min_{axis}"], settings[f"pad_{axis}_divisor"]
        missing = max(least - side, 0) if least is not None else -side % divisor
        before.append(missing // 2)
        after.append(missing - missing // 2)
    if not any(before + after) or settings["p"] == 0:
        return []
    if settings["p"] < 1:
        raise UnsupportedError("changes the size of some images only: p below 1")
    if settings["position"] == "random":
        raise UnsupportedError("position random")
    if "top" in settings["position"]:
        before[0], after[0] = 0, before[0] + after[0]
    if "bottom" in settings["position"]:
        before[0], after[0] = before[0] + after[0], 0
    if "left" in settings["position"]:
        before[1], after[1] = 0, before[1] + after[1]
    if "right" in settings["position"]:
        before[1], after[1] = before[1] + after[1], 0
    return [Padding(size, before[0], after[0], before[1], after[1], settings["border_mode"], settings["fill"])]


def build_crop(settings: dict[str, Any], size: tuple[int, int]) -> list[Padding | Crop]:
    """RandomCrop for images of ``size``. Raises ValueError if the crop is larger, and UnsupportedError."""
    wanted = settings["height"], settings["width"]
    operations: list[Padding | Crop] = []
    if settings["p"] == 0:
        return operations
    if settings["pad_if_needed"]:
        padding = {"min_height": wanted[0], "min_width": wanted[1], "position": settings["pad_position"]}
        operations += build_padding({**settings, **padding, **dict.fromkeys(_DIVISORS)}, size)
        size = operations[0].output_size if operations else size
    if wanted[0] > size[0] or wanted[1] > size[1]:
        raise ValueError(
            f"a crop of {wanted[0]} × {wanted[1]} does not fit into images of {size[0]} × {size[1]}: "
            "put PadIfNeeded before it"
        )
    if wanted != size:
        if settings["p"] < 1:
            raise UnsupportedError("changes the size of some images only: p below 1")
        operations.append(Crop(settings["p"], size, wanted))
    return operations


_DIVISORS = ("pad_height_divisor", "pad_width_divisor")
