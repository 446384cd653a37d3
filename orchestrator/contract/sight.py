"""What the units of one tensor see along one axis: a law bound to the dimensions along which their position moves."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.contract.law import Interval, Law, Resampling, Unfollowable, joined, window


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
