"""What every element of a tensor sees of the image: dimensions as factors, and laws bound to them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from orchestrator.contract.law import Interval, Law, Resampling, Unfollowable, hull, size
from orchestrator.contract.sight import Factor, Sight, Sights, merge

AXES = (0, 1)  # of the image: height, width


@dataclass(frozen=True, slots=True)
class View:
    """``dims``: each dimension's factors, outermost first. ``sights``: together, all that units see.

    ``narrow``: the alternatives among which the branch that sees least is found.
    """

    dims: tuple[tuple[Factor, ...], ...]
    sights: Sights = ()
    narrow: Sights = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's sizes."""
        return tuple(math.prod(factor.size for factor in dim) for dim in self.dims)

    def map(self, change: Callable[[Sight], Sight]) -> "View":
        """The same dimensions with every sight changed."""
        return View(self.dims, merge(map(change, self.sights), True), merge(map(change, self.narrow), False))

    def axes_of(self, dim: int) -> set[int]:
        """The image's axes along which a step along ``dim`` moves."""
        return {sight.axis for sight in self.sights for factor in self.dims[dim] if sight.step(factor) is not None}

    @property
    def is_map(self) -> bool:
        """Whether it is a feature map: each axis of the image has a dimension of its own."""
        along = [self.axes_of(dim) for dim in range(len(self.dims))]
        return all(along.count({axis}) == 1 for axis in AXES) and {0, 1} not in along

    def spatial_extent(self) -> int:
        """How many positions there are: elements along all dimensions that move over the image."""
        return math.prod(n for dim, n in enumerate(self.shape) if self.axes_of(dim))

    def mix(self, dim: int) -> "View":
        """Each unit along ``dim`` sees what all of them see; the dimension stays."""
        view = self
        for factor in self.dims[dim]:
            view = view.map(lambda sight, factor=factor: sight.mixed(factor))  # type: ignore[misc]
        return view.with_dim(dim, (Factor(self.shape[dim]),))

    def with_dim(self, dim: int, factors: tuple[Factor, ...]) -> "View":
        """Another dimension in place of ``dim``."""
        return replace(self, dims=(*self.dims[:dim], factors, *self.dims[dim + 1 :]))

    def without_dim(self, dim: int) -> "View":
        """Drop a dimension to which nothing is bound."""
        return replace(self, dims=(*self.dims[:dim], *self.dims[dim + 1 :]))

    def select(self, dim: int, index: int) -> "View":
        """One unit along ``dim``; the dimension goes."""
        view = self
        for factor in reversed(self.dims[dim]):
            index, place = divmod(index, factor.size)
            view = view.map(lambda sight, f=factor, i=place: sight.selected(f, i))  # type: ignore[misc]
        return view.without_dim(dim)

    def resample(self, dim: int, new_size: int, resampling: Resampling) -> "View":
        """Units along ``dim`` replaced by ``new_size`` units that take from them."""
        if resampling.is_identity and new_size == self.shape[dim]:
            return self
        new = Factor(new_size)
        if not self.axes_of(dim):
            return self.with_dim(dim, (new,))
        view = self.as_one(dim)
        (old,) = view.dims[dim]
        return view.map(lambda sight: sight.resampled(old, new, resampling)).with_dim(dim, (new,))

    def as_one(self, dim: int) -> "View":
        """The same with a single factor along ``dim``."""
        view = self
        while len(view.dims[dim]) > 1:
            *rest, outer, inner = view.dims[dim]
            whole = Factor(outer.size * inner.size)
            view = view.map(lambda sight, o=outer, i=inner, w=whole: sight.joined(o, i, w))  # type: ignore[misc]
            view = view.with_dim(dim, (*rest, whole))
        return view

    def loosen(self, dim: int, new_size: int | None = None) -> "View":
        """It is no longer known which unit along ``dim`` sees what."""
        factors, new = self.dims[dim], Factor(self.shape[dim] if new_size is None else new_size)
        bound = {id(factor) for factor in factors}

        def change(sight: Sight) -> Sight:
            return sight.loosened(factors, new) if any(id(f) in bound for f, _ in sight.steps) else sight

        return self.map(change).with_dim(dim, (new,))

    def field(self, axis: int) -> int:
        """Input positions that a unit in the middle of the map sees along ``axis``; the widest where units differ."""
        mine = [sight for sight in self.sights if sight.axis == axis]
        if any(sight.is_loose for sight in mine):
            raise Unfollowable("positions were joined or rearranged along one dimension")
        period = math.lcm(1, *(len(sight.law.table) for sight in mine))
        around = range(-(period // 2), period - period // 2)
        return max((size(hull(_beside(sight, offset) for sight in mine)) for offset in around), default=0)

    def narrowest(self, axis: int) -> int:
        """The same along the branch that sees least."""
        mine = [sight for sight in self.narrow if sight.axis == axis]
        if any(sight.is_loose for sight in mine):
            raise Unfollowable("positions were joined or rearranged along one dimension")
        return min((max(map(size, sight.law.table)) for sight in mine), default=0)

    def jump(self, axis: int) -> Fraction | None:
        """Input positions between neighbouring units; None where no positions are left."""
        jumps = [abs(s.law.jump * s.steps[0][1]) for s in self.sights if s.axis == axis and len(s.steps) == 1]
        return max((jump for jump in jumps if jump), default=None)


def _beside(sight: Sight, offset: int) -> Interval | None:
    """What the unit ``offset`` units beside the middle sees; None beyond the map's edge."""
    if len(sight.steps) == 1:
        ((factor, step),) = sight.steps
        return sight.law.at(sight.centre + offset * step) if 0 <= factor.size // 2 + offset < factor.size else None
    return sight.law.at(sight.centre)


def picture(shape: Sequence[int]) -> View:
    """The network's input, (N, C, H, W): each unit sees itself."""
    factors = tuple(Factor(n) for n in shape)
    sights = tuple(Sight(axis, ((factors[2 + axis], 1),), Law(((0, 0),), 1)) for axis in AXES)
    return View(tuple((factor,) for factor in factors), sights, sights)


def blank(shape: Sequence[int]) -> View:
    """A tensor that does not depend on the image."""
    return View(tuple((Factor(n),) for n in shape))
