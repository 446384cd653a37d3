"""The compiled engine: a pipeline as batched torch operations on the images' own device. Needs torch only."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.augment import crop, dropout, symmetry, warp
from orchestrator.data.augment.base import Augmentation
from orchestrator.data.augment.operation import Operation, UnsupportedError, per_image, select
from orchestrator.data.augment.schema import SCHEMAS, parse
from orchestrator.data.random_numbers import uniform


class CompiledAugmentation(Augmentation):
    """Runs operations one after the other."""

    on_device = True

    def __init__(self, operations: Sequence[Operation], seed: int) -> None:
        self.operations = tuple(operations)
        self.seed = seed

    def draw(self, indices: Tensor, epoch: int) -> list[Tensor]:
        """indices: (N,) int64. Returns for each operation whether it is applied, (N,) bool, and its needs, (N, ...)."""
        if not self.operations or not len(indices):
            return []
        # Two operations never share a number: each takes one for "is it applied", then those of its parameters.
        numbers = uniform(self.seed, epoch, indices, sum(1 + op.draws for op in self.operations))
        drawn: list[Tensor] = []
        for own in numbers.split([1 + op.draws for op in self.operations], dim=1):
            operation = self.operations[len(drawn) // 2]
            applied, parameters = own[:, 0] < operation.probability, operation.sample(own[:, 1:])
            if operation.neutral and operation.probability < 1:
                parameters = parameters * applied.view(-1, *[1] * (parameters.ndim - 1))
            drawn += [applied, operation.prepare(parameters)]
        return drawn

    def apply(self, images: Tensor, drawn: list[Tensor]) -> Tensor:
        """images: (B, C, H, W) uint8; drawn: (B, ...), on the same device. Returns (B, C, H, W) uint8."""
        if not drawn or not len(images):
            return images
        for operation, applied, prepared in zip(self.operations, drawn[::2], drawn[1::2], strict=True):
            images = _sometimes(operation, images, applied, prepared)
        return images


def _sometimes(operation: Operation, images: Tensor, applied: Tensor, prepared: Tensor) -> Tensor:
    """Apply the operation to the images of which ``applied``, (B,) bool, says so. prepared: (B, ...)."""
    if operation.probability == 1 or operation.neutral:
        return operation.apply(images, prepared)
    if images.device.type != "cpu":  # to count them would make the host wait; to change them all costs little
        return select(per_image(applied), operation.apply(images, prepared), images)
    rows = applied.nonzero()[:, 0]
    if not len(rows):
        return images
    changed = operation.apply(images.index_select(0, rows), prepared.index_select(0, rows))
    after = torch.arange(len(images), len(images) + len(rows))
    order = torch.arange(len(images)).scatter_(0, rows, after)
    return torch.cat((images, changed)).index_select(0, order)


def compile_transforms(transforms: Sequence[Mapping[str, Mapping[str, Any]]], size: tuple[int, int]) -> list[Operation]:
    """The operations of a pipeline whose arguments have been checked, for images of ``size`` (height, width).

    Raises UnsupportedError naming the first transform without a compiled form, and ValueError, with the transform's
    position, where images of this size do not fit.
    """
    operations: list[Operation] = []
    start = size
    for position, transform in enumerate(transforms):
        [(name, written)] = transform.items()
        if name not in SCHEMAS:
            raise UnsupportedError(name)
        settings, _ = parse(name, written)
        try:
            operations += _build(name, settings, size)
        except UnsupportedError as reason:
            raise UnsupportedError(f"{name} ({reason})") from None
        except ValueError as problem:
            raise ValueError(f"[{position}] {name}: {problem}") from None
        size = operations[-1].output_size if operations else size
    if size != start:
        raise ValueError(f"makes images of {size[0]} × {size[1]} out of {start[0]} × {start[1]}: end with RandomCrop")
    return operations


def _build(name: str, settings: dict[str, Any], size: tuple[int, int]) -> Sequence[Operation]:
    """The operations, none or more, that one transform becomes."""
    if name == "RandomCrop":
        return crop.build_crop(settings, size)
    if name == "PadIfNeeded":
        return crop.build_padding(settings, size)
    operation: Operation | None = None
    if name in symmetry.SYMMETRIES:
        operation = symmetry.build(name, settings, size)
    elif name == "ShiftScaleRotate":
        operation = warp.build_shift_scale_rotate(settings, size)
    elif name == "Affine":
        operation = warp.build_affine(settings, size)
    elif name == "CoarseDropout":
        operation = dropout.build(settings, size)
    return [operation] if operation and operation.probability else []
