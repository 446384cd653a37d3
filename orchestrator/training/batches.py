"""The pictures of one trial, resident on its device, handed out in batches that depend on (seed, epoch) only."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.data import Augmentation, Split
from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.training.device import Placement
from orchestrator.training.randomness import generator


@dataclass(frozen=True)
class Batches:
    """``indices`` (M,) int64 are the pictures of ``split`` to learn from, on the CPU; ``split`` is on the device."""

    split: Split
    indices: Tensor
    batch_size: int
    seed: int
    augmentation: Augmentation
    normalisation: Normalisation
    placement: Placement

    def __len__(self) -> int:
        """Batches of one epoch; the last one may be smaller, no picture is left out."""
        return -(-len(self.indices) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented, normalised pictures (B, 3, H, W) float32 and labels (B,), every picture once."""
        order = torch.randperm(len(self.indices), generator=generator(self.seed, epoch, "order"))
        for indices in self.indices[order].to(self.split.labels.device).split(self.batch_size):
            images = self.augmentation(self.split.images[indices], indices, epoch)
            pictures = apply(images, self.normalisation).contiguous(memory_format=self.placement.memory_format)
            yield pictures, self.split.labels[indices]
