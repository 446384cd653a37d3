"""Views reshaped, and several views as one: broadcasting, concatenation, matrix products."""

import math
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.contract.law import Unfollowable
from orchestrator.contract.sight import Factor, Sight, merge
from orchestrator.contract.view import View


def reshape(view: View, shape: Sequence[int]) -> View:
    """The same elements in another shape, in row-major order; dimensions on either side that stay are untouched."""
    old, new = view.shape, tuple(shape)
    if math.prod(new) == 0 or math.prod(old) != math.prod(new):
        raise Unfollowable(f"a reshape from {old} to {new}")
    left = 0
    while left < min(len(old), len(new)) and old[left] == new[left]:
        left += 1
    right = 0
    while right < min(len(old), len(new)) - left and old[-1 - right] == new[-1 - right]:
        right += 1
    view, middle = _regroup(view, left, len(old) - right, new[left : len(new) - right])
    return replace(view, dims=(*view.dims[:left], *middle, *view.dims[len(old) - right :]))


def _regroup(view: View, first: int, last: int, shape: Sequence[int]) -> tuple[View, list[tuple[Factor, ...]]]:
    """Dimensions ``first`` up to ``last`` cut and put together as ``shape`` says."""
    for factor in (f for dim in view.dims[first:last] for f in dim if f.size == 1):
        view = view.map(lambda sight, f=factor: sight.mixed(f))  # type: ignore[misc]  # one unit: the same for all
    view, queue = _coalesced(view, [f for dim in view.dims[first:last] for f in dim if f.size > 1])
    groups: list[tuple[Factor, ...]] = []
    for needed in shape:
        group: list[Factor] = []
        while needed > 1:
            factor = queue.pop(0)
            if needed % factor.size:
                if factor.size % needed:
                    raise Unfollowable(f"a reshape that cuts a dimension of {factor.size} positions by {needed}")
                view, (factor, rest) = _split(view, factor, needed)
                queue.insert(0, rest)
            group.append(factor)
            needed //= factor.size
        groups.append(tuple(group) or (Factor(1),))
    return view, groups


def _split(view: View, factor: Factor, outer_size: int) -> tuple[View, tuple[Factor, Factor]]:
    outer, inner = Factor(outer_size), Factor(factor.size // outer_size)
    dims = tuple(tuple(new for f in dim for new in ((outer, inner) if f is factor else (f,))) for dim in view.dims)
    return replace(view.map(lambda sight: sight.split(factor, outer, inner)), dims=dims), (outer, inner)


def _coalesced(view: View, factors: list[Factor]) -> tuple[View, list[Factor]]:
    """Neighbouring factors that move over the image as one are made one."""
    joined: list[Factor] = []
    for factor in factors:
        if joined and (whole := _as_one(view, joined[-1], factor)):
            view = view.map(lambda sight, o=joined[-1], i=factor, w=whole: _rebound(sight, o, i, w))  # type: ignore[misc]
            joined[-1] = whole
        else:
            joined.append(factor)
    return view, joined


def _as_one(view: View, outer: Factor, inner: Factor) -> Factor | None:
    for sight in (*view.sights, *view.narrow):
        step_out, step_in = sight.step(outer), sight.step(inner)
        if step_out != (None if step_in is None else step_in * inner.size):
            return None
    return Factor(outer.size * inner.size)


def _rebound(sight: Sight, outer: Factor, inner: Factor, whole: Factor) -> Sight:
    step = sight.step(inner)
    if step is None:
        return sight
    return replace(sight, steps=(*(s for s in sight.steps if s[0] is not outer and s[0] is not inner), (whole, step)))


def broadcast(view: View, shape: Sequence[int]) -> View:
    """Repeat dimensions of size 1, and add dimensions on the left, until the shape is ``shape``."""
    missing = len(shape) - len(view.dims)
    view = replace(view, dims=(*((Factor(1),) for _ in range(missing)), *view.dims))
    for dim, wanted in enumerate(shape):
        if view.shape[dim] != wanted:
            view = view.mix(dim).with_dim(dim, (Factor(wanted),))
    return view


def union(views: Sequence[View], shape: Sequence[int]) -> View:
    """Each unit sees what the units at its place see in any of ``views``: addition, gating and whatever is like it."""
    views = [broadcast(view, shape) for view in views]
    result = views[0]
    for other in views[1:]:
        for dim in range(len(shape)):
            result, other = _aligned(result, other, dim)
        narrow = merge((*result.narrow, *other.narrow), False)
        result = View(result.dims, merge((*result.sights, *other.sights), True), narrow)
    return result


def _aligned(first: View, second: View, dim: int) -> tuple[View, View]:
    """Both views with the very same factors in dimension ``dim``."""
    if first.dims[dim] == second.dims[dim]:  # factors are compared by identity
        return first, second
    if not second.axes_of(dim):
        return first, second.with_dim(dim, first.dims[dim])
    if not first.axes_of(dim):
        return first.with_dim(dim, second.dims[dim]), second
    place = 0
    while place < len(first.dims[dim]):
        mine, theirs = first.dims[dim][place], second.dims[dim][place]
        if mine.size > theirs.size and mine.size % theirs.size == 0:
            first, (mine, _) = _split(first, mine, theirs.size)
        elif theirs.size > mine.size and theirs.size % mine.size == 0:
            second, (theirs, _) = _split(second, theirs, mine.size)
        elif mine.size != theirs.size:
            return _aligned(first.as_one(dim), second.as_one(dim), dim)
        second = _renamed(second, theirs, mine)
        place += 1
    return first, second


def _renamed(view: View, old: Factor, new: Factor) -> View:
    def change(sight: Sight) -> Sight:
        return replace(sight, steps=tuple((new if f is old else f, step) for f, step in sight.steps))

    return replace(view.map(change), dims=tuple(tuple(new if f is old else f for f in dim) for dim in view.dims))


def concatenate(views: Sequence[View], dim: int, shape: Sequence[int]) -> View:
    """Joined along ``dim``. Along channels, each unit is given what any of the channels sees."""
    total = shape[dim]
    if any(view.axes_of(dim) for view in views):
        views = [_somewhere(view, dim, Factor(view.shape[dim])) for view in views]
        new = Factor(total)
        views = [_renamed(view, view.dims[dim][0], new) for view in views]
        return union(views, shape)
    flat = [view.with_dim(dim, (Factor(1),)) for view in views]
    return union(flat, (*shape[:dim], 1, *shape[dim + 1 :])).with_dim(dim, (Factor(total),))


def _somewhere(view: View, dim: int, new: Factor) -> View:
    """Whatever the view sees is seen somewhere along ``new``, which takes the place of ``dim``."""
    factors = view.dims[dim]
    return view.map(lambda sight: sight.loosened(factors, new)).with_dim(dim, (new,))


def matrix_product(first: View, second: View, shape: Sequence[int]) -> View:
    """(…, M, K) times (…, K, N): an element sees what its row of the one and its column of the other see."""
    rows, columns = first.mix(len(first.dims) - 1), second.mix(len(second.dims) - 2)
    one = (Factor(1),)
    rows, columns = rows.with_dim(len(rows.dims) - 1, one), columns.with_dim(len(columns.dims) - 2, one)
    return union((rows, columns), shape)


def everything(views: Sequence[View], shape: Sequence[int]) -> View:
    """A tensor of which each element sees what any element of ``views`` sees."""
    result = View(tuple((Factor(n),) for n in shape))
    for view in views:
        for dim in range(len(view.dims)):
            view = view.mix(dim)
        result = replace(
            result,
            sights=merge((*result.sights, *view.sights), True),
            narrow=merge((*result.narrow, *view.narrow), False),
        )
    return result


def is_everywhere(view: View) -> bool:
    """Whether every unit sees the same."""
    return not any(sight.steps for sight in view.sights)
