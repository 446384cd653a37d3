"""The images of one trial, resident on its device if they fit, in batches that depend on (seed, epoch) only."""

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from orchestrator.data import Augmentation, Split
from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.training.device import Placement
from orchestrator.training.randomness import generator

_logger = logging.getLogger(__name__)


MOST = 0.5  # of a GPU's free memory that images may take: the network and its maps need the rest


def resident(split: Split, device: torch.device) -> Split:
    """``split`` on the device, once for the whole trial. If too large for it, on the host: batches are copied then."""
    if device.type == "cuda":
        needed = split.images.nbytes + split.labels.nbytes
        free = available(
            torch.cuda.mem_get_info(device)[0],
            torch.cuda.memory_reserved(device),
            torch.cuda.memory_allocated(device),
        )
        if needed > MOST * free:
            sizes = f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on the GPU"
            _logger.warning("the images stay in host memory, from which each batch is copied: they take %s", sizes)
            return split
    return Split(split.images.to(device), split.labels.to(device))


def available(free: int, reserved: int, allocated: int) -> int:
    """Bytes that this process can get: ``free`` on the device, and what it has ``reserved`` and not ``allocated``.

    What a trial leaves stays reserved for the process: to the device it is not free, and the next trial gets it first.
    """
    return free + max(reserved - allocated, 0)


class Batches:
    """The batches of one trial, made where its device is: an epoch's order and draws lie there before its first step.

    A step takes its number from ``step``, a counter on the device, so that nothing of an epoch is decided by the host:
    a CUDA graph of one step, replayed, is the whole epoch.
    """

    def __init__(
        self,
        split: Split,
        indices: Tensor,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        normalisation: Normalisation,
        placement: Placement,
        drop_last: bool = False,
    ) -> None:
        """``indices`` (M,) int64, on the CPU, are those images of ``split``, from ``resident``, to learn from.

        ``drop_last`` leaves out a last batch that is smaller: other images every epoch.
        """
        self.split, self.indices, self.batch_size, self.seed = split, indices, batch_size, seed
        self.augmentation, self.normalisation, self.placement = augmentation, normalisation, placement
        whole, rest = divmod(len(indices), batch_size)
        self.sizes = [batch_size] * whole + [rest] * bool(rest and not drop_last)  # images of each batch of an epoch
        self.images = sum(self.sizes)  # of one epoch
        device = placement.device
        self.step = torch.zeros(1, dtype=torch.int64, device=device)  # the batch that is next
        self._offsets = torch.arange(max(self.sizes, default=0), device=device)
        self._order = torch.zeros(self.images, dtype=torch.int64, device=device)
        self._drawn: list[Tensor] = []
        self._prepared: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Batches of one epoch; without ``drop_last`` the last one may be smaller and no image is left out."""
        return len(self.sizes)

    @property
    def is_on_device(self) -> bool:
        """Whether making a batch needs nothing of the host."""
        return self.split.images.device.type == self.placement.device.type and self.augmentation.on_device

    def prepare(self, epoch: int) -> None:
        """Have the host's part of an epoch's beginning ready, while the device still works on the one before."""
        order = torch.randperm(len(self.indices), generator=generator(self.seed, epoch, "order"))[: self.images]
        self._prepared = epoch, self.indices[order]

    def begin(self, epoch: int) -> None:
        """Draw all that is random about an epoch, into the memory of the one before."""
        if self._prepared is None or self._prepared[0] != epoch:
            self.prepare(epoch)
        assert self._prepared is not None
        self._order.copy_(self._prepared[1])
        drawn = self.augmentation.draw(self._order, epoch)
        if self._drawn:
            for kept, fresh in zip(self._drawn, drawn, strict=True):
                kept.copy_(fresh)
        else:
            self._drawn = [fresh.clone() for fresh in drawn]
        self.step.zero_()

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Augmented, normalised images (size, 3, H, W) float32 and labels (size,) of the batch that is next."""
        rows = self._offsets[:size] + self.step * self.batch_size
        indices = self._order.index_select(0, rows)
        device, home = self.placement.device, self.split.images.device
        images, labels = self.split.images[indices.to(home)].to(device), self.split.labels[indices.to(home)].to(device)
        augmented = self.augmentation.apply(images, [drawn.index_select(0, rows) for drawn in self._drawn])
        return apply(augmented, self.normalisation).contiguous(memory_format=self.placement.memory_format), labels

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, every image of it once."""
        self.begin(epoch)
        for size in self.sizes:
            yield self.batch(size)
            self.step.add_(1)
