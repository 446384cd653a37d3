"""The receptive field of every unit of a tensor: which pixels of the image it depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from orchestrator.analysis.intervals import EMPTY, Intervals, UnknownFieldError

AXES = (0, 1)  # of the image: height, width
NOTHING = -(2**40)  # the position of units that see nothing of a part (a class token beside the tokens of an image)
CUT = "a window slides over a map that was cut to one position: the distance to the next is not known"
IRREGULAR = "a window slides over positions that were joined or rearranged"


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """One way in which units see one axis of the image.

    ``positions`` (int64) broadcasts to the tensor's shape, with size 1 along each dimension in which all units have
    the same position; a unit sees ``intervals.at(position)``. ``stride``: positions between neighbouring units of a
    map that has only one position left; None if unknown.
    """

    axis: int
    positions: Tensor
    intervals: Intervals
    stride: int | None = 1

    @property
    def is_single(self) -> bool:
        """Whether all units have the same position."""
        return self.positions.numel() == 1

    @property
    def is_uniform(self) -> bool:
        """Whether all units see equally many pixels, and move along one dimension at most."""
        return len(self.intervals.table) == 1 and max(self.positions.shape) == self.positions.numel()

    def shared(self) -> "Part":
        """All units together, whatever the part is sliced into or padded to later; for a single position."""
        seen = self.intervals.at(int(self.positions.flatten()[0]))
        return Part(self.axis, torch.zeros_like(self.positions), Intervals((seen,), 0))


@dataclass(frozen=True, eq=False, slots=True)
class Field:
    """What the units of a tensor of ``shape`` see: all that its parts see together. Without parts, nothing."""

    shape: tuple[int, ...]
    parts: tuple[Part, ...] = ()

    def axes_of(self, dim: int) -> set[int]:
        """The axes of the image along which a step along ``dim`` moves."""
        return {part.axis for part in self.parts if self.moves(part, dim % len(self.shape))}

    def moves(self, part: Part, dim: int) -> bool:
        """Whether units along ``dim`` are at different positions; also along a map's dimension of size 1."""
        if part.is_single and part.intervals.shift and len(self.shape) == 4:  # (N, C, H, W)
            return dim == 2 + part.axis and self.shape[dim] == 1
        return part.positions.shape[dim] > 1

    @property
    def is_map(self) -> bool:
        """Whether it is a feature map: each axis of the image has a dimension of its own."""
        along = [self.axes_of(dim) for dim in range(len(self.shape))]
        return all(along.count({axis}) == 1 for axis in AXES) and {0, 1} not in along

    def spatial_extent(self) -> int:
        """The number of positions: elements along all dimensions that move over the image."""
        extent = 1
        for dim, size in enumerate(self.shape):
            extent *= size if self.axes_of(dim) else 1
        return extent

    def axes_left(self) -> int:
        """How many times a dimension moves along an axis of the image: 2 for a map, 0 after global pooling."""
        return sum(len(self.axes_of(dim)) for dim in range(len(self.shape)))

    def bounds(self, axis: int) -> tuple[Tensor, Tensor]:
        """First and last pixel that each unit sees along ``axis``; both broadcast to the tensor's shape."""
        low = torch.full((1,) * len(self.shape), EMPTY, device="cpu")
        high = -low
        for part in (part for part in self.parts if part.axis == axis):
            first, last = part.intervals.bounds(part.positions)
            absent = (part.positions == NOTHING) | (first > last)
            low = torch.minimum(low, first.masked_fill(absent, EMPTY))
            high = torch.maximum(high, last.masked_fill(absent, -EMPTY))
        own = {dim for dim in range(len(self.shape)) if len(self.axes_of(dim)) == 1}
        if len(own) == len(AXES):  # a map: the union over its channels, also where those see different pixels
            others = [dim for dim in range(low.dim()) if dim not in own]
            low, high = low.amin(others, keepdim=True), high.amax(others, keepdim=True)
        return low, high

    def size(self, axis: int) -> int:
        """Pixels that a unit in the middle sees along ``axis``; the widest of a period where neighbours differ."""
        mine = [part for part in self.parts if part.axis == axis]
        if len(mine) == 1 and mine[0].is_uniform:
            seen = mine[0].intervals.table[0]
            return seen[1] - seen[0] + 1 if seen else 0
        period = max((len(part.intervals.table) for part in mine), default=1)
        low, high = self.bounds(axis)
        for dim, size in enumerate(low.shape):
            first = max(0, size // 2 - period // 2)
            length = min(size - first, period)
            low, high = low.narrow(dim, first, length), high.narrow(dim, first, length)
        return max(0, int((high - low).max()) + 1)

    def jump(self, axis: int) -> Fraction | None:
        """Pixels between neighbouring units; None where no positions are left or their order is not that of a map."""
        jumps = [Fraction(0)]
        for part in (part for part in self.parts if part.axis == axis):
            dims = [dim for dim in range(len(self.shape)) if self.moves(part, dim)]
            if len(dims) == 1:
                try:
                    _, step, intervals = in_steps(self, part, dims[0])
                except UnknownFieldError:
                    continue
                jumps.append(abs(step * intervals.jump))
        return max(jumps) or None


def image_field(shape: Sequence[int]) -> Field:
    """The network's input (N, C, H, W): each pixel sees itself."""
    height, width = (torch.arange(n, device="cpu") for n in shape[2:])
    identity = Intervals(((0, 0),), 1)
    parts = (Part(0, height.view(1, 1, -1, 1), identity), Part(1, width.view(1, 1, 1, -1), identity))
    return Field(tuple(shape), parts)


def in_steps(field: Field, part: Part, dim: int) -> tuple[Tensor, int, Intervals]:
    """Positions as ``start + i * step`` for unit i along ``dim``; where they repeat a pattern, numbered anew."""
    positions, size = part.positions, field.shape[dim]
    start = positions.narrow(dim, 0, 1)
    if positions.shape[dim] == 1:
        if part.stride is None:
            raise UnknownFieldError(CUT)
        return start, part.stride, part.intervals
    differences = positions.diff(dim=dim)
    step = int(differences.flatten()[0])
    if bool((differences == step).all()):
        return start, step, part.intervals
    if positions.numel() == size:
        pattern = positions.flatten()
        for period in range(2, size // 2 + 1):
            advances = pattern[period:] - pattern[:-period]
            if bool((advances == advances[0]).all()):
                taps = tuple((position,) for position in pattern[:period].tolist())
                return torch.zeros_like(start), 1, part.intervals.resampled(taps, int(advances[0]))
    raise UnknownFieldError(IRREGULAR)
