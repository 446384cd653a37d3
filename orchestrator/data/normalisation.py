"""Images to zero mean and unit variance, channel by channel, with figures measured on the training images."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

SUMMED_AT_A_TIME = 1024  # images


@dataclass(frozen=True)
class Normalisation:
    """Mean and population standard deviation of each channel, as fractions of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def pixel_sums(images: Tensor) -> Tensor:
    """Of each image and channel the sum of its values and of their squares: (N, 2, C) int64, exact.

    images: (N, C, H, W) uint8. Worked out once, they give the figures of any choice of these images at no cost.
    """
    sums = torch.empty(len(images), 2, images.shape[1], dtype=torch.int64)
    for start in range(0, len(images), SUMMED_AT_A_TIME):
        part = images[start : start + SUMMED_AT_A_TIME].cpu().flatten(2).int()
        sums[start : start + SUMMED_AT_A_TIME] = torch.stack([part.sum(2), part.square().sum(2)], dim=1)
    return sums


def measure(images: Tensor) -> Normalisation:
    """Exact figures of ``images``: (N, C, H, W) uint8, N at least 1."""
    return from_sums(pixel_sums(images), images.shape[2] * images.shape[3])


def from_sums(sums: Tensor, pixels_each: int) -> Normalisation:
    """The same of the images with these :func:`pixel_sums`, (N, 2, C); integers, rounded once at the end."""
    pixels = len(sums) * pixels_each
    means, stds = [], []
    for total, squares in zip(*sums.sum(0).tolist(), strict=True):
        std = math.sqrt(pixels * squares - total * total) / pixels
        means.append(total / pixels / 255)
        # A channel that never varies holds nothing to scale: one grey level keeps the division finite.
        stds.append((std or 1.0) / 255)
    return Normalisation(tuple(means), tuple(stds))


def apply(images: Tensor, normalisation: Normalisation) -> Tensor:
    """``(images / 255 - mean) / std`` in one pass.

    images: (N, C, H, W), uint8 or float from 0 to 255, on any device. Returns float32 of the same shape.
    """
    scale, shift = scale_and_shift(normalisation, images.device)
    return torch.addcmul(shift, images, scale).float()


@functools.lru_cache(maxsize=64)  # a copy to an accelerator for every batch would make it wait
def scale_and_shift(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two (1, C, 1, 1) float32 tensors of ``images * scale + shift``."""
    scale = [1 / (255 * std) for std in normalisation.std]
    shift = [-mean / std for mean, std in zip(normalisation.mean, normalisation.std, strict=True)]
    with torch.inference_mode(False):  # they outlive the evaluation that may ask for them first
        return (
            torch.tensor(scale, device=device).view(1, -1, 1, 1),
            torch.tensor(shift, device=device).view(1, -1, 1, 1),
        )
