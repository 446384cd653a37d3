"""Receptive fields of tensors whose elements are moved, reshaped or repeated."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from orchestrator.analysis.field import NOTHING, Field, Part


def rearranged(field: Field, function: Callable[[Tensor], Tensor], step: int = 1) -> Field:
    """What ``function``, which only moves elements, makes of it; ``step`` is the one of a slice.

    A part of which no element is left that sees anything (a class token alone) is gone.
    """
    shape: tuple[int, ...] = ()
    parts = []
    for part in field.parts:
        moved = function(part.positions.expand(field.shape))
        shape = tuple(moved.shape)
        positions, stride = compressed(moved), part.stride
        if bool((positions == NOTHING).all()):
            continue
        if positions.numel() == 1 and not part.is_single:
            stride = _stride(field, part, step)
        parts.append(Part(part.axis, positions, part.intervals, stride))
    return Field(shape, tuple(parts))


def _stride(field: Field, part: Part, step: int) -> int | None:
    dims = [dim for dim in range(len(field.shape)) if field.moves(part, dim)]
    steps = part.positions.diff(dim=dims[0]).unique()
    return int(steps[0]) * step if len(dims) == 1 and len(steps) == 1 else None


def compressed(positions: Tensor) -> Tensor:
    """With size 1 along each dimension in which the positions do not change."""
    for dim in range(positions.dim()):
        if positions.stride(dim) == 0:
            positions = positions.narrow(dim, 0, 1)
    for dim, size in enumerate(positions.shape):
        if size > 1 and bool((positions == positions.narrow(dim, 0, 1)).all()):
            positions = positions.narrow(dim, 0, 1)
    return positions


def reshaped(field: Field, shape: Sequence[int]) -> Field:
    """The same elements in another shape, in row-major order; equal dimensions on either side are left alone."""
    old, new = field.shape, tuple(shape)
    left = 0
    while left < min(len(old), len(new)) and old[left] == new[left]:
        left += 1
    right = 0
    while right < min(len(old), len(new)) - left and old[-1 - right] == new[-1 - right]:
        right += 1
    parts = []
    for part in field.parts:
        sizes = tuple(part.positions.shape)
        before, after = sizes[:left], sizes[len(old) - right :]
        whole = part.positions.expand(*before, *old[left : len(old) - right], *after)
        positions = compressed(whole.reshape(*before, *new[left : len(new) - right], *after))
        parts.append(replace(part, positions=positions))
    return Field(new, tuple(parts))


def broadcast(field: Field, shape: Sequence[int]) -> Field:
    """Repeat dimensions of size 1, and add dimensions on the left, until the shape is ``shape``."""
    if field.shape == tuple(shape):
        return field
    missing = (1,) * (len(shape) - len(field.shape))
    repeated = (*missing, *field.shape) != tuple(shape)
    parts = (part.shared() if repeated and part.is_single else part for part in field.parts)
    return Field(
        tuple(shape), tuple(replace(p, positions=p.positions.view(*missing, *p.positions.shape)) for p in parts)
    )
