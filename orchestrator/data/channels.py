"""Grey and colour: images brought to the number of channels that a network takes."""

from dataclasses import replace

import torch
from torch import Tensor

from orchestrator.data.dataset import Dataset, Split

CONVERTED_AT_A_TIME = 1024  # images
WEIGHTS = (19595, 38470, 7471)  # of red, green and blue in grey, in 65536ths: ITU-R 601, as Pillow's mode L has them


def to_channels(images: Tensor, channels: int) -> Tensor:
    """images: (N, 1 or 3, H, W) uint8. Returns (N, ``channels``, H, W): grey repeated, or colour weighed into grey."""
    if images.shape[1] == channels:
        return images
    if channels != 1:
        return images.repeat(1, channels, 1, 1)
    red, green, blue = (plane.int() * weight for plane, weight in zip(images.unbind(1), WEIGHTS, strict=True))
    return ((red + green + blue + 0x8000) >> 16).to(torch.uint8)[:, None]


def with_channels(dataset: Dataset, channels: int | None) -> Dataset:
    """The dataset with images of ``channels``; None: as they are."""
    if channels is None or channels == dataset.shape[0]:
        return dataset

    def converted(split: Split) -> Split:
        parts = [to_channels(part, channels) for part in torch.split(split.images, CONVERTED_AT_A_TIME)]
        return Split(torch.cat(parts), split.labels)

    own = None if dataset.validation is None else converted(dataset.validation)
    return replace(dataset, train=converted(dataset.train), test=converted(dataset.test), validation=own, sums=None)
