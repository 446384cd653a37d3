"""ShiftScaleRotate and Affine: one bilinear warp of raw pixels an image, as OpenCV's warpAffine does it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.data.augment.arguments import CONSTANT, LINEAR, REFLECT, REFLECT_101, REPLICATE, WRAP
from orchestrator.data.augment.operation import UnsupportedError, constant, in_pixels, pixels

Span = tuple[float, float]

_PADDING_MODES = {CONSTANT: "zeros", REPLICATE: "border", REFLECT: "reflection", REFLECT_101: "reflection"}


@dataclass(frozen=True)
class Warp:
    """Parameters: (n, 5) or, with shear, (n, 7) float32, each drawn between its ``low`` and its ``high``.

    In this order: shift x and y (pixels), scale x and y (factors), rotation, shear x and y (degrees).
    """

    probability: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    whole_shifts: bool  # shifts are drawn as whole pixels; otherwise as fractions of a pixel, and then truncated
    keep_ratio: bool  # both axes are scaled alike
    border: int
    fill: tuple[float, float, float]
    output_size: tuple[int, int]
    neutral: bool = False

    @property
    def draws(self) -> int:
        """One for each parameter."""
        return len(self.low)

    def sample(self, numbers: Tensor) -> Tensor:
        """numbers: (n, draws). Returns (n, draws)."""
        extra = int(self.whole_shifts)  # to draw the highest shift as often as the others
        span = tuple(
            high - low + extra * (i < 2) for i, (low, high) in enumerate(zip(self.low, self.high, strict=True))
        )
        parameters = numbers * constant(span, numbers.device)
        shifts = parameters[:, :2]  # a view
        if self.whole_shifts:
            shifts.floor_()
        parameters += constant(self.low, numbers.device)
        if not self.whole_shifts:
            shifts.trunc_()
        if self.keep_ratio:
            parameters[:, 3] = parameters[:, 2]
        return parameters

    def prepare(self, parameters: Tensor) -> Tensor:
        """parameters: (n, 5) or (n, 7). Returns (n, 2, 3) float32: by which the grid finds where pixels come from."""
        return inverse(matrices(parameters, self.output_size), self.output_size, self.border == REFLECT_101)

    def apply(self, images: Tensor, prepared: Tensor) -> Tensor:
        """images: (n, C, H, W) uint8; prepared: (n, 2, 3) float32."""
        return warp(images, prepared, self.border, self.fill)


def matrices(parameters: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each pixel goes: (n, 2, 3) float32, for a warp's parameters and images of ``size`` (height, width).

    Scale, then rotate clockwise by minus the angle, then shear, all about the centre ((W-1)/2, (H-1)/2), then shift.
    """
    shift, scale = parameters[:, :2], parameters[:, 2:4]
    radians = parameters[:, 4:] * (math.pi / 180)
    cos, sin = radians[:, 0].cos(), radians[:, 0].sin()
    rotated = torch.stack((cos, sin, -sin, cos), dim=1).view(-1, 2, 2) * scale[:, None, :]
    linear = rotated
    if parameters.shape[1] > 5:
        linear = linear + radians[:, 1:].tan()[:, :, None] * rotated.flip(1)
    centre = constant(((size[1] - 1) / 2, (size[0] - 1) / 2), parameters.device)
    offset = shift + centre - (linear * centre).sum(2)
    return torch.cat((linear, offset[:, :, None]), dim=2)


def warp(images: Tensor, backward: Tensor, border: int, fill: tuple[float, float, float]) -> Tensor:
    """Fetch every pixel from where its image's matrix says; bilinear, rounded to whole grey levels.

    images: (n, C, H, W) uint8; backward: (n, 2, 3) float32, from :func:`inverse`. Returns (n, C, H, W) uint8.
    Outside of the image lies ``fill`` (border constant) or the image itself, continued as ``border`` says.
    """
    grid = _sources(backward, images.shape[2], images.shape[3])
    levels = images.to(torch.float32)
    background: Tensor | float = 0.0
    if border == CONSTANT and any(fill):
        background = constant(tuple(round(level) for level in fill[: images.shape[1]]), images.device)[:, None, None]
        levels -= background
    moved = F.grid_sample(
        levels, grid, mode="bilinear", padding_mode=_PADDING_MODES[border], align_corners=border == REFLECT_101
    )
    moved.add_(background + 0.5)
    return moved.to(torch.int16).to(torch.uint8)  # by way of int16: torch has no fast path from float32 to uint8


def inverse(forward: Tensor, size: tuple[int, int], centres: bool) -> Tensor:
    """Where each pixel comes from: (n, 2, 3) float32, for ``forward``, (n, 2, 3) in pixels, of images of ``size``.

    A row times (column, row, 1) of a pixel is x or y in units in which -1 and 1 are the outer edges of the image, or,
    with ``centres`` (a border that mirrors about the centres of the outermost pixels), these centres.
    """
    height, width = size
    device = forward.device
    linear, shift = forward[:, :, :2], forward[:, :, 2]
    adjugate = linear.flip(1, 2).transpose(1, 2) * constant((1, -1, -1, 1), device).view(2, 2)
    determinant = (linear[:, 0] * adjugate[:, :, 0]).sum(1)[:, None, None]
    # Division by 0 is an image scaled to nothing: one pixel everywhere.
    turned = (adjugate / determinant).nan_to_num_(0.0, 0.0, 0.0)
    steps = [2 / max(side - 1, 1) if centres else 2 / side for side in (width, height)]  # between two pixels
    first = [-1.0 if centres else step / 2 - 1 for step in steps]  # the centre of the first pixel
    turned = turned * constant(tuple(steps), device)[:, None]
    origin = constant(tuple(first), device) - (turned * shift[:, None, :]).sum(2)
    return torch.cat((turned, origin[:, :, None]), dim=2)


def _sources(backward: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel comes from: (n, H, W, 2) float32, x and y."""
    across = backward[:, :, :1] * pixels(width, backward.device)
    down = backward[:, :, 1:2] * pixels(height, backward.device) + backward[:, :, 2:]
    return (across[:, :, None, :] + down[:, :, :, None]).permute(0, 2, 3, 1)


def build_shift_scale_rotate(settings: dict[str, Any], size: tuple[int, int]) -> Warp:
    """ShiftScaleRotate for images of ``size`` (height, width). Raises UnsupportedError."""
    shifts = [settings[name] or settings["shift_limit"] for name in ("shift_limit_x", "shift_limit_y")]
    scale = settings["scale_limit"][0] + 1, settings["scale_limit"][1] + 1
    return _build(settings, size, shifts, False, (scale, scale), settings["rotate_limit"], ())


def build_affine(settings: dict[str, Any], size: tuple[int, int]) -> Warp:
    """Affine for images of ``size`` (height, width). Raises UnsupportedError."""
    for argument in ("fit_output", "balanced_scale"):
        if settings[argument]:
            raise UnsupportedError(argument)
    fractions, pixels = settings["translate_percent"], settings["translate_px"]
    shifts = fractions or pixels or ((0.0, 0.0), (0.0, 0.0))
    whole = fractions is None
    return _build(settings, size, shifts, whole, settings["scale"], settings["rotate"], settings["shear"])


def _build(
    settings: dict[str, Any],
    size: tuple[int, int],
    shifts: Any,
    whole: bool,
    scale: Any,
    rotate: Span,
    shear: Sequence[Span],
) -> Warp:
    if settings["interpolation"] != LINEAR:
        raise UnsupportedError("an interpolation that is not linear")
    if settings["border_mode"] == WRAP:
        raise UnsupportedError("border_mode wrap")
    if whole:
        shifts = [(float(int(low)), float(int(high))) for low, high in shifts]
    else:
        shifts = [in_pixels(low, high, side) for (low, high), side in zip(shifts, reversed(size), strict=True)]
    spans = [*shifts, *scale, rotate]
    if any(any(span) for span in shear):
        spans += [(-high, -low) for low, high in shear]
    return Warp(
        probability=settings["p"],
        low=tuple(low for low, _ in spans),
        high=tuple(high for _, high in spans),
        whole_shifts=whole,
        keep_ratio=settings.get("keep_ratio", False),
        border=settings["border_mode"],
        fill=settings["fill"],
        output_size=size,
    )
