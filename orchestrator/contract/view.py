"""What every element of a tensor sees of the picture: dimensions as factors, and laws bound to them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from orchestrator.contract.law import Interval, Law, Resampling, Unfollowable, hull, joined, size, window

AXES = (0, 1)  # of the picture: height, width


@dataclass(frozen=True, eq=False, slots=True)
class Factor:
    """A dimension or a part of one; two factors are the same only if they are the same object."""

    size: int


@dataclass(frozen=True, slots=True)
class Sight:
    """One way in which units see one axis. Their position is the sum of index * step over the bound factors.

    A step of 0 marks a factor along which it is unknown which unit sees what (after tokens were joined to a sequence,
    say); what all of its units see together is still known. A sight without factors is the same for every unit.
    """

    axis: int
    steps: tuple[tuple[Factor, int], ...]
    law: Law

    def step(self, factor: Factor) -> int | None:
        """The step along ``factor``, or None if it is not bound to it."""
        return next((step for bound, step in self.steps if bound is factor), None)

    @property
    def is_loose(self) -> bool:
        """Whether it is unknown which unit sees what."""
        return any(step == 0 for _, step in self.steps)

    @property
    def centre(self) -> int:
        """The position of the unit in the middle."""
        return sum(factor.size // 2 * step for factor, step in self.steps)

    def mixed(self, factor: Factor) -> "Sight":
        """Every unit along ``factor`` sees what all of them see."""
        step = self.step(factor)
        if step is None:
            return self
        rest = tuple(pair for pair in self.steps if pair[0] is not factor)
        law = self.law.taken(window(factor.size, dilation=step)) if step else self.law
        return Sight(self.axis, rest, law if rest else Law((law.at(0),), 0))

    def selected(self, factor: Factor, index: int) -> "Sight":
        """What the unit at ``index`` along ``factor`` sees."""
        step = self.step(factor)
        if step == 0:
            raise Unfollowable("one position is taken from a dimension whose positions were joined or rearranged")
        if step is None:
            return self
        rest = tuple(pair for pair in self.steps if pair[0] is not factor)
        law = self.law.taken(window(1, padding=-index * step))
        return Sight(self.axis, rest, law if rest else Law((law.at(0),), 0))

    def resampled(self, factor: Factor, new: Factor, resampling: Resampling) -> "Sight":
        """Units along ``new`` take from the units along ``factor``."""
        step = self.step(factor)
        if step is None:
            return self
        if len(self.steps) > 1 or step == 0:
            raise Unfollowable("a window slides over a dimension whose positions were split, joined or rearranged")
        return Sight(self.axis, ((new, 1),), self.law.taken(window(1, step)).taken(resampling))

    def split(self, factor: Factor, outer: Factor, inner: Factor) -> "Sight":
        """``factor`` written as ``outer`` times ``inner``."""
        step = self.step(factor)
        if step is None:
            return self
        rest = tuple(pair for pair in self.steps if pair[0] is not factor)
        return replace(self, steps=(*rest, (outer, step * inner.size), (inner, step)))

    def joined(self, outer: Factor, inner: Factor, whole: Factor) -> "Sight":
        """``outer`` times ``inner`` written as one factor; along the one to which it is not bound, nothing changes."""
        out, into = self.step(outer), self.step(inner)
        if out is None and into is None:
            return self
        if any(factor is not outer and factor is not inner for factor, _ in self.steps) or self.is_loose:
            raise Unfollowable("a window slides over a dimension whose positions were split, joined or rearranged")
        positions = tuple(((into or 0) * index,) for index in range(inner.size))
        return Sight(self.axis, ((whole, 1),), self.law.taken(Resampling(positions, out or 0)))

    def loosened(self, factors: Iterable[Factor], new: Factor) -> "Sight":
        """What the units along ``factors`` see is seen somewhere along ``new``."""
        sight = self
        for factor in factors:
            sight = sight.mixed(factor)
        return replace(sight, steps=(*sight.steps, (new, 0)))


Sights = tuple[Sight, ...]


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
        """The picture's axes along which a step along ``dim`` moves."""
        return {sight.axis for sight in self.sights for factor in self.dims[dim] if sight.step(factor) is not None}

    @property
    def is_map(self) -> bool:
        """Whether it is a feature map: each axis of the picture has a dimension of its own."""
        along = [self.axes_of(dim) for dim in range(len(self.dims))]
        return all(along.count({axis}) == 1 for axis in AXES) and {0, 1} not in along

    def spatial_extent(self) -> int:
        """How many positions there are: elements along all dimensions that move over the picture."""
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


def merge(sights: Iterable[Sight], widest: bool) -> Sights:
    """As few sights as tell the same: those bound alike that move alike become one."""
    groups: dict[tuple[object, ...], Sight] = {}
    for sight in sights:
        key = (sight.axis, frozenset((id(f), step) for f, step in sight.steps), sight.law.jump)
        known = groups.get(key)
        groups[key] = sight if known is None else replace(sight, law=joined(known.law, sight.law, widest))
    found = tuple(groups.values())
    if not widest:
        return found
    everywhere = {s.axis: s.law.table[0] for s in found if not s.steps}
    return tuple(s for s in found if not (s.is_loose and _inside(s, everywhere.get(s.axis))))


def _inside(loose: Sight, whole: Interval | None) -> bool:
    """Whether all that a loose sight may add is seen by every unit anyway."""
    seen = loose
    for factor, _ in loose.steps:
        seen = seen.mixed(factor)
    inner = seen.law.table[0]
    return inner is None or (whole is not None and whole[0] <= inner[0] and inner[1] <= whole[1])


def picture(shape: Sequence[int]) -> View:
    """The network's input, (N, C, H, W): each unit sees itself."""
    factors = tuple(Factor(n) for n in shape)
    sights = tuple(Sight(axis, ((factors[2 + axis], 1),), Law(((0, 0),), 1)) for axis in AXES)
    return View(tuple((factor,) for factor in factors), sights, sights)


def blank(shape: Sequence[int]) -> View:
    """A tensor that does not depend on the picture."""
    return View(tuple((Factor(n),) for n in shape))
