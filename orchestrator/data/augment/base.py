"""What an augmentation is to everybody else: everything random drawn at once, and applied batch by batch."""

from abc import ABC, abstractmethod

from torch import Tensor


class Augmentation(ABC):
    """What happens to an image depends on (seed, epoch, sample index) and on nothing else."""

    on_device: bool  # whether `apply` is made of torch operations alone, which a CUDA graph can hold

    @abstractmethod
    def draw(self, indices: Tensor, epoch: int) -> list[Tensor]:
        """The parameters of the images at ``indices``, (N,) int64, into the training split.

        Returns tensors (N, ...) on the device of ``indices``; row i of each belongs to ``indices[i]``.
        """

    @abstractmethod
    def apply(self, images: Tensor, drawn: list[Tensor]) -> Tensor:
        """images: (B, C, H, W) uint8; drawn: B rows of what :meth:`draw` returned. Returns the shape of ``images``."""

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Both in one: images (B, C, H, W) uint8, and where they stand in the training split, (B,) int64."""
        return self.apply(images, self.draw(indices, epoch))
