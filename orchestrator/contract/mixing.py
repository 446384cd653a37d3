"""How windows, resampling, reductions and products change what units see."""

from fractions import Fraction

from orchestrator.contract import combine
from orchestrator.contract.call import Call
from orchestrator.contract.law import Resampling, Unfollowable, adaptive_bins, interpolation, transposed_window, window
from orchestrator.contract.sight import Factor
from orchestrator.contract.view import View


def pointwise(call: Call) -> View:
    """Every element from the elements at its place."""
    return combine.union(call.views, call.shape)


def convolution(call: Call) -> View:
    """A plain or transposed convolution over any number of spatial dimensions; the weight may be computed too."""
    view = call.views[0]
    if call["groups"] > 1 and view.axes_of(1):
        raise Unfollowable("a grouped convolution over channels that hold positions")
    view = view.mix(1).with_dim(1, (Factor(call.shape[1]),))
    kernel = call["weight"][2:]
    for i, taps in enumerate(kernel):
        stride, padding, dilation = (
            (v[i] if len(v) > 1 else v[0]) for v in (call["stride"], call["padding"], call["dilation"])
        )
        make = transposed_window if call["transposed"] else window
        view = view.resample(2 + i, call.shape[2 + i], make(taps, stride, padding, dilation))
    return combine.union((view, *(combine.everything([v], (1,) * len(call.shape)) for v in call.views[1:])), call.shape)


def pooling(call: Call) -> View:
    """Average or maximum over a sliding window of two dimensions, or of three."""
    view, count = call.views[0], _dimensions(call)
    settings = [call["kernel_size"], call["stride"] or call["kernel_size"], call["padding"]]
    settings.append(call.arguments.get("dilation", [1]))
    for i in range(count):
        dim = len(call.shape) - count + i
        kernel, stride, padding, dilation = (v[i] if len(v) > 1 else v[0] for v in settings)
        view = view.resample(dim, call.shape[dim], window(kernel, stride, padding, dilation))
    return view


def adaptive_pooling(call: Call) -> View:
    """Average or maximum over as many bins as the result has positions; over one bin, no position is left."""
    view = call.views[0]
    for dim in range(len(call.shape) - _dimensions(call), len(call.shape)):
        size, bins = view.shape[dim], call.shape[dim]
        view = view.mix(dim) if bins == 1 else view.resample(dim, bins, adaptive_bins(size, bins))
    return view


def _dimensions(call: Call) -> int:
    return 3 if "pool3d" in call.name else 2


def reduction(call: Call) -> View:
    """A figure of all elements along some dimensions; of two tensors, the larger or smaller at each place."""
    if "other" in call.arguments:
        return pointwise(call)
    view, dims = call.views[0], call.dims()
    for dim in dims:
        view = view.mix(dim).with_dim(dim, (Factor(1),))
    if len(call.shape) != len(view.dims):
        for dim in reversed(dims):
            view = view.without_dim(dim)
    return view


def along(call: Call) -> View:
    """Each element from all elements along some dimensions, which stay: softmax, cumulative sums, sorting."""
    view = call.views[0]
    for dim in call.dims():
        view = view.mix(dim)
    return view


def upsampled(call: Call) -> View:
    """Interpolation to another size, in torch's own coordinates."""
    view = call.views[0]
    _, kind, *_ = call.name.lstrip("_").split("_")
    reach = {"bilinear2d": "linear", "bicubic2d": "cubic"}.get(kind, "nearest")
    given = call.arguments.get("scale_factors") or [call.arguments.get("scales_h"), call.arguments.get("scales_w")]
    for i in (0, 1):
        old, new = view.shape[2 + i], call.shape[2 + i]
        scale = 1 / Fraction(given[i]).limit_denominator(1000) if given[i] else Fraction(old, new)
        offset = Fraction(0)
        if call.arguments.get("align_corners"):
            scale = Fraction(old - 1, new - 1) if new > 1 else Fraction(0)
        elif reach != "nearest" or "exact" in call.name:
            offset = scale / 2 - (Fraction(0) if reach == "nearest" else Fraction(1, 2))
        view = view.resample(2 + i, new, interpolation(scale, offset, reach))
    return view


def shuffled(call: Call) -> View:
    """Channels to positions, r x r for each."""
    view, r = call.views[0].mix(1), call["upscale_factor"]
    for dim in (2, 3):
        view = view.resample(dim, call.shape[dim], Resampling(((0,),) * r, 1))
    return view.with_dim(1, (Factor(call.shape[1]),))


def unshuffled(call: Call) -> View:
    """Positions to channels, r x r for each."""
    view, r = call.views[0].mix(1), call["downscale_factor"]
    for dim in (2, 3):
        view = view.resample(dim, call.shape[dim], window(r, r))
    return view.with_dim(1, (Factor(call.shape[1]),))


def product(call: Call) -> View:
    """A matrix product."""
    return combine.matrix_product(call.views[0], call.views[1], call.shape)


def product_and_sum(call: Call) -> View:
    """A matrix product added to a tensor."""
    return combine.union((call.views[0], combine.matrix_product(call.views[1], call.views[2], call.shape)), call.shape)


def columns(call: Call) -> View:
    """Sliding windows as columns (im2col): (N, C * kh * kw, positions)."""
    view = call.views[0].mix(1)
    height, width = (
        (view.shape[2 + i] + 2 * p - d * (k - 1) - 1) // s + 1
        for i, (k, s, p, d) in enumerate(_geometry(call))
    )  # fmt: skip
    for i, (k, s, p, d) in enumerate(_geometry(call)):
        view = view.resample(2 + i, (height, width)[i], window(k, s, p, d))
    view = combine.reshape(view, (*view.shape[:2], height * width))
    return view.with_dim(1, (Factor(call.shape[1]),))


def _geometry(call: Call) -> list[tuple[int, int, int, int]]:
    """Kernel, stride, padding and dilation of both axes."""
    names = ("kernel_size", "stride", "padding", "dilation")
    return list(zip(*(call.pair(name) for name in names), strict=True))


def halves_joined(call: Call) -> View:
    """A gated linear unit: one half of a dimension gates the other."""
    view = call.views[0]
    dim = call["dim"] % len(view.dims)
    half = view.shape[dim] // 2
    parts = [view.resample(dim, half, window(1, 1, -start)) for start in (0, half)]
    return combine.union(parts, call.shape)
