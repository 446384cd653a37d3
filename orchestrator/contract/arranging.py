"""How operations that only rearrange elements change what units see."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.contract import combine
from orchestrator.contract.call import Call
from orchestrator.contract.law import Resampling, Unfollowable, window
from orchestrator.contract.sight import Factor
from orchestrator.contract.view import View, blank


def untouched(call: Call) -> View:
    """The first tensor's view; normalisation is one of these, see docs/receptive-field.md."""
    return call.views[0]


def reshaped(call: Call) -> View:
    """The same elements in another shape."""
    return combine.reshape(call.views[0], call.shape)


def squeezed(call: Call) -> View:
    """Dimensions of size 1 dropped."""
    view = call.views[0]
    for dim in reversed(call.dims()):
        if view.shape[dim] == 1:
            view = view.mix(dim).without_dim(dim)
    return view


def unsqueezed(call: Call) -> View:
    """A dimension of size 1 put in."""
    view = call.views[0]
    dim = call["dim"] % (len(view.dims) + 1)
    return replace(view, dims=(*view.dims[:dim], (Factor(1),), *view.dims[dim:]))


def permuted(call: Call) -> View:
    """Dimensions in another order."""
    view = call.views[0]
    order = list(range(len(view.dims)))
    if call.name == "permute":
        order = [d % len(order) for d in call["dims"]]
    elif call.name == "transpose":
        a, b = call["dim0"] % len(order), call["dim1"] % len(order)
        order[a], order[b] = b, a
    else:
        order.reverse()
    return replace(view, dims=tuple(view.dims[d] for d in order))


def sliced(call: Call) -> View:
    """Positions start, start + step, ... along a dimension."""
    view = call.views[0]
    dim = call["dim"] % len(view.dims)
    size = view.shape[dim]
    start = call["start"] or 0
    start = max(0, start + size if start < 0 else min(start, size))
    step = call.arguments.get("step", 1)
    return view.resample(dim, call.shape[dim], window(1, step, -start))


def selected(call: Call) -> View:
    """One position of a dimension, which goes."""
    view = call.views[0]
    dim = call["dim"] % len(view.dims)
    return view.select(dim, call["index"] % view.shape[dim])


def divided(call: Call) -> Sequence[View]:
    """Parts along a dimension: split, chunk, unbind."""
    view = call.views[0]
    dim = call["dim"] % len(view.dims)
    if call.name == "unbind":
        return [view.select(dim, i) for i in range(view.shape[dim])]
    parts, start, total = [], 0, view.shape[dim]
    given = call.arguments.get("split_sizes", call.arguments.get("split_size"))
    sizes = given if isinstance(given, (list, tuple)) else [given] * (-(-total // given))
    for size in sizes:
        size = min(size, total - start)
        parts.append(view.resample(dim, size, window(1, 1, -start)))
        start += size
    return parts


def joined(call: Call) -> View:
    """Tensors one behind the other along a dimension; an empty one-dimensional tensor counts for nothing."""
    return combine.concatenate(call.views, call["dim"] % len(call.shape), call.shape)


def stacked(call: Call) -> View:
    """Tensors one behind the other along a new dimension."""
    dim = call["dim"] % len(call.shape)
    rest = (*call.shape[:dim], *call.shape[dim + 1 :])
    view = combine.union(call.views, rest)
    return replace(view, dims=(*view.dims[:dim], (Factor(call.shape[dim]),), *view.dims[dim:]))


def expanded(call: Call) -> View:
    """Dimensions of size 1 repeated."""
    return combine.broadcast(call.views[0], call.shape)


def padded(call: Call) -> View:
    """Positions put around, or cut off, pairs of (before, after) from the last dimension on."""
    view = call.views[0]
    amounts: list[int] = call["pad"] if "pad" in call.arguments else call["padding"]
    for i in range(len(amounts) // 2):
        dim = len(view.dims) - 1 - i
        view = view.resample(dim, call.shape[dim], window(1, 1, amounts[2 * i]))
    return view


def flipped(call: Call) -> View:
    """Dimensions read backwards."""
    view = call.views[0]
    for dim in (d % len(view.dims) for d in call["dims"]):
        view = view.resample(dim, view.shape[dim], Resampling(((view.shape[dim] - 1,),), -1))
    return view


def rolled(call: Call) -> View:
    """Dimensions turned round: a turned map has a seam, so which unit sees what is given up."""
    view = call.views[0]
    for dim in (d % len(view.dims) for d in call["dims"]):
        view = view.loosen(dim) if view.axes_of(dim) else view
    if not call["dims"]:
        raise Unfollowable("torch.roll without dims")
    return view


def channels_shuffled(call: Call) -> View:
    """Channels in another order: which of them sees what is not told apart anyway."""
    return call.views[0].loosen(1) if call.views[0].axes_of(1) else call.views[0]


def independent(call: Call) -> View:
    """A new tensor that only borrows the shape of another."""
    return blank(call.shape)


def copied(call: Call) -> View:
    """The second tensor's elements, written over the first's."""
    return combine.broadcast(call.views[1], call.shape)


def repeated(call: Call) -> View:
    """Whole dimensions repeated; new ones on the left."""
    repeats = call["repeats"]
    view = call.views[0]
    missing = len(repeats) - len(view.dims)
    view = replace(view, dims=(*((Factor(1),) for _ in range(missing)), *view.dims))
    for dim, times in enumerate(repeats):
        if times != 1:
            view = (
                view.loosen(dim, call.shape[dim])
                if view.axes_of(dim)
                else view.with_dim(dim, (Factor(call.shape[dim]),))
            )
    return view


def indexed(call: Call) -> View:
    """Some places along one dimension, in any order; which they are is not known here, so it must not be an axis."""
    view = call.views[0]
    given = (
        call["indices"] if "indices" in call.arguments else [None] * (call["dim"] % len(view.dims)) + [call["index"]]
    )
    chosen = [(dim, shape) for dim, shape in enumerate(given) if shape is not None]
    if len(chosen) != 1 or len(chosen[0][1]) != 1 or view.axes_of(chosen[0][0]):
        raise Unfollowable("which positions it picks is unknown")
    dim = chosen[0][0]
    return view.with_dim(dim, (Factor(call.shape[dim]),))
