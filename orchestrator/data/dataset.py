"""A dataset in memory: uint8 images, int64 labels, class names and a digest of its content."""

import ctypes
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from orchestrator.errors import DataError

CHANNELS = (1, 3)  # of an image: grey or colour
ONE_CLASS = "there is nothing to tell apart, a dataset needs two classes or more and this one has"


@dataclass(frozen=True)
class Split:
    """images: (N, C, H, W) uint8, of one channel or three; labels: (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def subset(self, indices: Tensor) -> "Split":
        """The images at ``indices``: (M,) int64."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """The official splits; without a validation split of its own, one is cut from the training split by seed."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    validation: Split | None = None  # where the dataset brings one
    notes: tuple[str, ...] = ()  # what a person should know of how it was read
    sums: Tensor | None = field(default=None, repr=False)  # pixel_sums of the training images, where they are known

    def __post_init__(self) -> None:
        splits = {"training": self.train, "test": self.test, "validation": self.validation}
        for which, split in splits.items():
            if split is None:
                continue
            _check(f"{self.name}, {which} split", split, self)
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name}: two classes have one name: {', '.join(self.classes)}")
        if len(self.classes) < 2:
            raise DataError(f"{self.name}: {ONE_CLASS}: {', '.join(self.classes)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.images.shape[1:]
        return int(channels), int(height), int(width)

    @cached_property
    def digest(self) -> str:
        """sha256 (hexadecimal) of the images, labels and class names."""
        splits = [split for split in (self.train, self.test, self.validation) if split is not None]
        content = hashlib.sha256(repr((self.classes, *(tuple(split.images.shape) for split in splits))).encode())
        for tensor in (tensor for split in splits for tensor in (split.images, split.labels)):
            flat = tensor.cpu().contiguous()
            # The tensor's own memory: neither a copy nor numpy, which a machine may lack.
            content.update((ctypes.c_ubyte * flat.nbytes).from_address(flat.data_ptr()))
        return content.hexdigest()

    def held_out(self, fraction: float) -> int:
        """How many training images are not learned from, if ``fraction`` of them is to be the validation split."""
        return 0 if self.validation is not None else round(fraction * len(self.train))


def _check(where: str, split: Split, dataset: Dataset) -> None:
    """Raise DataError unless the split is what its types promise."""
    images, labels = split.images, split.labels
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in CHANNELS:
        raise DataError(
            f"{where}: images must be (N, 3, H, W) or (N, 1, H, W) uint8, not {tuple(images.shape)} {images.dtype}"
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{where}: labels must be ({images.shape[0]},) int64, not {tuple(labels.shape)} {labels.dtype}")
    if not len(split):
        raise DataError(f"{where}: holds no images")
    if images.shape[1:] != dataset.train.images.shape[1:]:
        raise DataError(f"{where}: its images are not of the training images' channels and size {dataset.shape}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(dataset.classes):
        raise DataError(f"{where}: labels run from {low} to {high}, but there are {len(dataset.classes)} classes")
