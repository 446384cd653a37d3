"""CoarseDropout: rectangles of one colour over the image (cutout, https://arxiv.org/abs/1708.04552)."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.augment.operation import AsSampled, UnsupportedError, constant, in_pixels, pixels, select
from orchestrator.data.random_numbers import integers


@dataclass(frozen=True)
class Dropout(AsSampled):
    """Parameters: (n, holes, 4) float32, whole numbers: top, left, bottom and right; a hole may be empty."""

    probability: float
    holes: tuple[int, int]
    smallest: tuple[float, float]  # height and width of a hole, pixels
    largest: tuple[float, float]
    whole: bool  # heights and widths are drawn as whole pixels; otherwise as fractions of a pixel, and then truncated
    fill: tuple[float, float, float]
    output_size: tuple[int, int]
    neutral: bool = True

    @property
    def draws(self) -> int:
        """How many holes, and four for each."""
        return 1 + 4 * self.holes[1]

    def sample(self, numbers: Tensor) -> Tensor:
        """numbers: (n, draws). Returns (n, holes, 4): every position at which a hole fits is equally likely."""
        extra = int(self.whole)  # to draw the largest as often as the others
        span = tuple(high - low + extra for low, high in zip(self.smallest, self.largest, strict=True))
        one_more = tuple(float(side + 1) for side in self.output_size)
        for_length, for_start = numbers[:, 1:].unflatten(1, (-1, 4)).split(2, dim=2)
        length = for_length * constant(span, numbers.device)
        if self.whole:
            length.floor_()
        length += constant(self.smallest, numbers.device)
        length.floor_()
        start = (constant(one_more, numbers.device) - length).mul_(for_start).floor_()
        if self.holes[0] < self.holes[1]:
            count = integers(numbers[:, :1], *self.holes)
            length = length * (torch.arange(self.holes[1], device=numbers.device) < count)[:, :, None]
        return torch.cat((start, start + length), dim=2)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """images: (n, C, H, W) uint8; parameters: (n, holes, 4) float32."""
        rows, columns = (pixels(side, images.device) for side in images.shape[2:])
        top, left, bottom, right = parameters[:, :, :, None].unbind(2)
        down, across = (rows >= top).logical_and_(rows < bottom), (columns >= left).logical_and_(columns < right)
        down, across = down.view(torch.uint8), across.view(torch.uint8)  # three times faster to combine than bools
        holes = (down[:, i, :, None] & across[:, i, None, :] for i in range(parameters.shape[1]))
        fill = constant(tuple(int(level) for level in self.fill[: images.shape[1]]), images.device, torch.uint8)[
            :, None, None
        ]
        return select(reduce(torch.bitwise_or, holes)[:, None], fill, images)


def build(settings: dict[str, Any], size: tuple[int, int]) -> Dropout:
    """CoarseDropout for images of ``size`` (height, width).

    Raises ValueError if the holes do not fit, and UnsupportedError for a fill that is not a colour.
    """
    spans: list[tuple[float, float]] = []
    whole = settings["hole_height_range"][1] >= 1
    for argument, side in zip(("hole_height_range", "hole_width_range"), size, strict=True):
        low, high = settings[argument]
        if (high >= 1) != whole:
            raise ValueError("hole_height_range and hole_width_range: give both in pixels or both as fractions below 1")
        if whole and int(low) > side:
            raise ValueError(f"{argument}: a hole of {low:g} pixels is larger than the image's {side}")
        spans.append((int(low), int(min(high, side))) if whole else in_pixels(low, high, side))
    if isinstance(settings["fill"], str):
        raise UnsupportedError(f"fill {settings['fill']}")
    (height_low, height_high), (width_low, width_high) = spans
    return Dropout(
        probability=settings["p"],
        holes=settings["num_holes_range"],
        smallest=(height_low, width_low),
        largest=(height_high, width_high),
        whole=whole,
        fill=settings["fill"],
        output_size=size,
    )
