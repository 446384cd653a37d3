"""The pictures of one trial, resident on its device if they fit, in batches that depend on (seed, epoch) only."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.data import Augmentation, Split
from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.training.device import Placement
from orchestrator.training.randomness import generator

_logger = logging.getLogger(__name__)


MOST = 0.5  # of a GPU's free memory that pictures may take: the network and its maps need the rest


def resident(split: Split, device: torch.device) -> Split:
    """``split`` on the device, once for the whole trial. If too large for it, on the host: batches are copied then."""
    if device.type == "cuda":
        needed, free = split.images.nbytes + split.labels.nbytes, torch.cuda.mem_get_info(device)[0]
        if needed > MOST * free:
            sizes = f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on the GPU"
            _logger.warning("the pictures stay in host memory, from which each batch is copied: they take %s", sizes)
            return split
    return Split(split.images.to(device), split.labels.to(device))


@dataclass(frozen=True)
class Batches:
    """``indices`` (M,) int64, on the CPU, are those pictures of ``split``, from ``resident``, to learn from."""

    split: Split
    indices: Tensor
    batch_size: int
    seed: int
    augmentation: Augmentation
    normalisation: Normalisation
    placement: Placement
    drop_last: bool = False  # leave out a last batch that is smaller: other images every epoch

    def __len__(self) -> int:
        """Batches of one epoch; without ``drop_last`` the last one may be smaller and no image is left out."""
        return self.images // self.batch_size if self.drop_last else -(-self.images // self.batch_size)

    @property
    def images(self) -> int:
        """Images of one epoch."""
        return len(self.indices) - (len(self.indices) % self.batch_size if self.drop_last else 0)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented, normalised images (B, 3, H, W) float32 and labels (B,), every image of the epoch once."""
        order = torch.randperm(len(self.indices), generator=generator(self.seed, epoch, "order"))[: self.images]
        device = self.placement.device
        for indices in self.indices[order].to(self.split.images.device).split(self.batch_size):
            images, labels = self.split.images[indices].to(device), self.split.labels[indices].to(device)
            augmented = self.augmentation(images, indices.to(device), epoch)
            pictures = apply(augmented, self.normalisation).contiguous(memory_format=self.placement.memory_format)
            yield pictures, labels
