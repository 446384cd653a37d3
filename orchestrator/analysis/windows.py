"""Receptive fields behind sliding windows, resampling, and reductions over whole dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from orchestrator.analysis.field import IRREGULAR, NOTHING, Field, Part, in_steps
from orchestrator.analysis.intervals import Taps, UnknownFieldError
from orchestrator.analysis.joins import united


def reduced(field: Field, dims: Sequence[int]) -> Field:
    """Each unit sees what all units along ``dims`` see; those keep a size of 1."""
    shape = tuple(1 if dim in dims else size for dim, size in enumerate(field.shape))
    return Field(shape, tuple(_reduced(field, part, dims) for part in field.parts))


def _reduced(field: Field, part: Part, dims: Sequence[int]) -> Part:
    moving = [dim for dim in dims if part.positions.shape[dim] > 1]
    if not moving:
        return part.shared() if any(field.moves(part, dim) for dim in dims) else part
    absent = part.positions == NOTHING
    lowest = part.positions.masked_fill(absent, -NOTHING).amin(moving, keepdim=True)
    offsets = (part.positions - lowest).masked_fill(absent, NOTHING)
    kept = [dim for dim, size in enumerate(lowest.shape) if size > 1]
    for dim in kept:
        if not bool((offsets == offsets.narrow(dim, 0, 1)).all()):
            raise UnknownFieldError("it combines positions that lie differently for each unit")
        offsets = offsets.narrow(dim, 0, 1)
    taps = tuple(offset for offset in offsets.unique().tolist() if offset != NOTHING)
    reached = Part(part.axis, lowest, part.intervals.resampled((taps,)), part.stride)
    return reached if kept else reached.shared()


def everything(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """Each unit of a tensor of ``shape`` sees what any unit of ``fields`` sees."""
    alone = [reduced(field, range(len(field.shape))) for field in fields]
    parts = [replace(p, positions=p.positions.view((1,) * len(shape))) for field in alone for p in field.parts]
    return united([Field(tuple(shape), (part,)) for part in parts], shape)


def windowed(field: Field, dim: int, size: int, taps: Sequence[int], stride: int = 1) -> Field:
    """Units along ``dim`` replaced by ``size`` units; unit i reads units i * ``stride`` + tap for each of ``taps``."""

    def slide(part: Part) -> Part:
        start, step, intervals = in_steps(field, part, dim)
        reads = intervals.resampled((tuple(tap * step for tap in taps),))
        return Part(part.axis, start + _counted(size, dim, start.dim()) * step * stride, reads, step * stride)

    return _along(field, dim, size, slide, needless=tuple(taps) == (0,) and stride == 1)


def resampled(field: Field, dim: int, size: int, taps: Taps, advance: int) -> Field:
    """Units along ``dim`` replaced by ``size`` units, which read as :meth:`Intervals.resampled` says."""

    def read(part: Part) -> Part:
        start, step, intervals = in_steps(field, part, dim)
        if start.numel() > 1:
            raise UnknownFieldError(IRREGULAR)
        numbered = intervals.resampled(((int(start.flatten()[0]),),), step)
        return Part(part.axis, _counted(size, dim, start.dim()), numbered.resampled(taps, advance))

    return _along(field, dim, size, read)


def _along(field: Field, dim: int, size: int, change: Callable[[Part], Part], needless: bool = False) -> Field:
    shape = (*field.shape[:dim], size, *field.shape[dim + 1 :])
    if needless and shape == field.shape:
        return field
    return Field(shape, tuple(change(part) if field.moves(part, dim) else part for part in field.parts))


def _counted(size: int, dim: int, count: int) -> Tensor:
    return torch.arange(size, device="cpu").view([-1 if d == dim else 1 for d in range(count)])
