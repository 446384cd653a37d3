"""Receptive fields of tensors that are made of several: sums, gates, concatenation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.analysis.field import NOTHING, Field, Part
from orchestrator.analysis.intervals import Intervals, UnknownFieldError
from orchestrator.analysis.rearrange import broadcast, compressed


def united(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """Each unit sees what the units at its place see in any of ``fields``: addition, gating and whatever is like it."""
    wide = [broadcast(field, shape) for field in fields if field.parts]
    if len(wide) < 2:
        return wide[0] if wide else Field(tuple(shape))
    parts: list[Part] = []
    for part in (part for field in wide for part in field.parts):
        for number, known in enumerate(parts):
            if (both := _as_one(known, part)) is not None:
                parts[number] = both
                break
        else:
            parts.append(part)
    return Field(tuple(shape), tuple(parts))


def _as_one(first: Part, second: Part) -> Part | None:
    """Both as one part, if their positions differ by the same number everywhere."""
    if first is second:
        return first
    alike = first.axis == second.axis and first.intervals.jump == second.intervals.jump
    if not alike or first.positions.shape != second.positions.shape:
        return None
    offset = 0
    if not torch.equal(first.positions, second.positions):
        absent = first.positions == NOTHING
        offsets = (second.positions - first.positions)[~absent].unique()
        if len(offsets) != 1 or not torch.equal(absent, second.positions == NOTHING):
            return None
        offset = int(offsets[0])
    stride = first.stride if first.stride == second.stride else None
    return Part(first.axis, first.positions, first.intervals.united(second.intervals, offset), stride)


def same(first: Field, second: Field) -> bool:
    """Whether the units of both see the same."""
    if first is second:
        return True
    return (first.shape, len(first.parts)) == (second.shape, len(second.parts)) and all(
        (a.axis, a.intervals, a.stride) == (b.axis, b.intervals, b.stride) and torch.equal(a.positions, b.positions)
        for a, b in zip(first.parts, second.parts, strict=True)
    )


def concatenated(fields: Sequence[Field], dim: int, shape: Sequence[int]) -> Field:
    """Joined along ``dim``. Along channels, each unit is given what any of the channels sees."""
    if not any(field.axes_of(dim) for field in fields):
        alone = [Field((*f.shape[:dim], 1, *f.shape[dim + 1 :]), f.parts) for f in fields if f.parts]
        return Field(tuple(shape), united(alone, (*shape[:dim], 1, *shape[dim + 1 :])).parts)
    known = {(part.axis, part.intervals): part for field in fields for part in field.parts}
    parts = []
    for axis, intervals in known:
        pieces = [_positions_or_nothing(field, axis, intervals) for field in fields]
        sizes = torch.broadcast_shapes(*((*p.shape[:dim], 1, *p.shape[dim + 1 :]) for p in pieces))
        wide = [p.expand(*sizes[:dim], f.shape[dim], *sizes[dim + 1 :]) for p, f in zip(pieces, fields, strict=True)]
        parts.append(Part(axis, compressed(torch.cat(wide, dim)), intervals))
    return Field(tuple(shape), tuple(parts))


def _positions_or_nothing(field: Field, axis: int, intervals: Intervals) -> Tensor:
    found = [p.positions for p in field.parts if (p.axis, p.intervals) == (axis, intervals)]
    if len(found) > 1:
        raise UnknownFieldError("positions are joined that see the image in several ways")
    return found[0] if found else torch.full((1,) * len(field.shape), NOTHING, device="cpu")
