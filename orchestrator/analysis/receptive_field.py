"""How each kind of torch operation changes what the units of a tensor see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_map

from orchestrator.analysis.field import Field
from orchestrator.analysis.intervals import (
    UnknownFieldError,
    adaptive_taps,
    interpolation_taps,
    transposed_taps,
    window_taps,
)
from orchestrator.analysis.joins import concatenated, united
from orchestrator.analysis.rearrange import broadcast, rearranged, reshaped
from orchestrator.analysis.windows import everything, reduced, resampled, windowed


@dataclass(frozen=True)
class Call:
    """One operation: ``arguments`` by their names in torch's schema, ``fields`` of its tensors in that order."""

    function: OpOverload
    name: str
    arguments: dict[str, Any]  # tensors stand as their shapes
    tensors: Sequence[Tensor]
    fields: Sequence[Field]
    given: tuple[Sequence[Any], dict[str, Any]]  # the arguments themselves, by position and by name
    shape: tuple[int, ...]  # of the result, or of its first part

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def dims(self) -> list[int]:
        """The argument ``dim`` as a list of non-negative numbers; all dimensions if it is not given."""
        dim = self.arguments.get("dim")
        count = len(self.fields[0].shape)
        if dim is None or dim == []:
            return list(range(count))
        return sorted(d % count for d in (dim if isinstance(dim, (list, tuple)) else [dim]))

    def windows(self, *settings: str) -> list[tuple[int, ...]]:
        """Settings of a sliding window, such as ``kernel_size``, one tuple for each of its dimensions."""
        count = len(self.arguments["weight"]) - 2 if self.name == "convolution" else 3 if "3d" in self.name else 2
        given = []
        for setting in settings:
            value = self.arguments.get(setting, 1) or self.arguments["kernel_size"]  # no stride: that of the kernel
            values = [value] if isinstance(value, int) else list(value)
            given.append(values * count if len(values) == 1 else values)
        return list(zip(*given, strict=True))


Rule = Callable[[Call], Field | Sequence[Field]]


def pointwise(call: Call) -> Field:
    """Every element from the elements at its place."""
    return united(call.fields, call.shape)


def unchanged(call: Call) -> Field:
    """The first tensor's field; normalisation is one of these, see docs/receptive-field.md."""
    return call.fields[0]


def new(call: Call) -> Field:
    """A new tensor that only has the shape of another."""
    return Field(call.shape)


def copy(call: Call) -> Field:
    """The second tensor's elements, written over the first's."""
    return broadcast(call.fields[1], call.shape)


def expansion(call: Call) -> Field:
    """Dimensions of size 1 repeated."""
    return broadcast(call.fields[0], call.shape)


def reshape(call: Call) -> Field:
    """The same elements in another shape."""
    return reshaped(call.fields[0], call.shape)


def rearrangement(call: Call) -> Field | Sequence[Field]:
    """Elements picked and moved: torch itself does it with their positions."""
    images = [tensor for tensor, field in zip(call.tensors, call.fields, strict=True) if field.parts]
    field = next(field for field in call.fields if field.parts)
    if not call.fields[0].parts:
        raise UnknownFieldError("what it picks from a table depends on the image")
    if len(images) > 1 or any(tensor.is_meta for tensor in call.tensors if tensor is not images[0]):
        if call.name in ("index", "index_select") and not any(map(field.axes_of, _indexed(call))):
            return _resized(field, call.shape)  # channels, of which all see the same
        raise UnknownFieldError("which positions it picks is not known")
    args, kwargs = call.given

    def moved(part: int | None) -> Callable[[Tensor], Tensor]:
        def function(positions: Tensor) -> Tensor:
            swapped = tree_map(lambda value: positions if value is images[0] else value, (args, kwargs))
            found: Tensor = call.function(*swapped[0], **swapped[1])
            return found if part is None else found[part]

        return function

    if call.name not in ("split", "split_with_sizes", "unbind"):
        return rearranged(field, moved(None), call.arguments.get("step", 1))
    size = field.shape[call["dim"]]
    count = size if call.name == "unbind" else -(-size // call["split_size"]) if call.name == "split" else 0
    return [rearranged(field, moved(part)) for part in range(count or len(call["split_sizes"]))]


def reduction(call: Call) -> Field:
    """A figure of all elements along some dimensions; of two tensors, the larger or smaller at each place."""
    if "other" in call.arguments:
        return pointwise(call)
    dims = call.dims()
    field = reduced(call.fields[0], dims)
    return field if len(call.shape) == len(field.shape) else _without(field, dims)


def along(call: Call) -> Field:
    """Each element from all elements along some dimensions, which stay: softmax, cumulative sums, sorting."""
    return broadcast(reduced(call.fields[0], call.dims()), call.shape)


def matrix_product(call: Call) -> Field:
    """A product (..., M, K) x (..., K, N), added to a tensor or not: an element sees its row and its column."""
    *added, first, second = call.fields
    rows = reduced(first, [len(first.shape) - 1])
    columns = reduced(second, [len(second.shape) - 2])
    return united((*added, rows, columns), call.shape)


def convolution(call: Call) -> Field:
    """A plain or transposed convolution over any number of spatial dimensions; the weight may be computed too."""
    field = call.fields[0]
    if field.axes_of(1) and call["groups"] > 1:
        raise UnknownFieldError("a grouped convolution over channels that see the image at different positions")
    field = reduced(field, [1])
    for dim, (stride, pad, dilation) in enumerate(call.windows("stride", "padding", "dilation"), start=2):
        kernel = call["weight"][dim]
        if call["transposed"]:
            field = resampled(field, dim, call.shape[dim], transposed_taps(kernel, stride, pad, dilation), 1)
        else:
            field = windowed(field, dim, call.shape[dim], window_taps(kernel, pad, dilation), stride)
    computed = [everything([other], call.shape) for other in call.fields[1:] if other.parts]
    return united((_resized(field, call.shape), *computed), call.shape)


def pooling(call: Call) -> Field:
    """Average or maximum over a sliding window of two dimensions, or of three."""
    field, settings = call.fields[0], call.windows("kernel_size", "stride", "padding", "dilation")
    for dim, (kernel, stride, pad, dilation) in enumerate(settings, start=len(call.shape) - len(settings)):
        field = windowed(field, dim, call.shape[dim], window_taps(kernel, pad, dilation), stride)
    return field


def adaptive_pooling(call: Call) -> Field:
    """Average or maximum over as many bins as the result has positions; over one bin, no position is left."""
    field, count = call.fields[0], 3 if "3d" in call.name else 2
    for dim in range(len(call.shape) - count, len(call.shape)):
        size, bins = field.shape[dim], call.shape[dim]
        field = reduced(field, [dim]) if bins == 1 else resampled(field, dim, bins, *adaptive_taps(size, bins))
    return field


def interpolation(call: Call) -> Field:
    """Interpolation to another size, in torch's own coordinates."""
    field = call.fields[0]
    reach = {"bilinear2d": (0, 1), "bicubic2d": (-1, 0, 1, 2)}.get(call.name.lstrip("_").split("_")[1], (0,))
    factors = call.arguments.get("scale_factors") or [call.arguments.get("scales_h"), call.arguments.get("scales_w")]
    for dim, factor in enumerate(factors, start=2):
        old, size = field.shape[dim], call.shape[dim]
        scale = 1 / Fraction(factor).limit_denominator(1000) if factor else Fraction(old, size)
        offset = Fraction(0)
        if call.arguments.get("align_corners"):
            scale = Fraction(old - 1, size - 1) if size > 1 else Fraction(0)
        elif "exact" in call.name:
            offset = scale / 2
        elif len(reach) > 1:
            offset = scale / 2 - Fraction(1, 2)
        field = resampled(field, dim, size, *interpolation_taps(scale, offset, reach))
    return field


def padding(call: Call) -> Field:
    """Positions added around, or cut off, in pairs of (before, after) from the last dimension on."""
    field = call.fields[0]
    amounts: list[int] = call["pad"] if "pad" in call.arguments else call["padding"]
    for i, before in enumerate(amounts[::2]):
        dim = len(field.shape) - 1 - i
        field = windowed(field, dim, call.shape[dim], (-before,))
    return field


def unfolding(call: Call) -> Field:
    """Sliding windows as columns (im2col): (N, C * kh * kw, positions), each of which sees its whole window."""
    field = reduced(call.fields[0], [1])
    settings = call.windows("kernel_size", "stride", "padding", "dilation")
    for dim, (kernel, stride, pad, dilation) in enumerate(settings, start=2):
        size = (field.shape[dim] + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        field = windowed(field, dim, size, window_taps(kernel, pad, dilation), stride)
    return _resized(reshaped(field, (*field.shape[:2], field.shape[2] * field.shape[3])), call.shape)


def gated_halves(call: Call) -> Field:
    """A gated linear unit: one half of a dimension gates the other."""
    field, dim = call.fields[0], call["dim"] % len(call.shape)
    size = call.shape[dim]
    return united([rearranged(field, lambda p, s=start: p.narrow(dim, s, size)) for start in (0, size)], call.shape)  # type: ignore[misc]


def concatenation(call: Call) -> Field:
    """Tensors one behind the other along a dimension; an empty one-dimensional tensor counts for nothing."""
    fields = [field for field in call.fields if field.shape != (0,)]
    return concatenated(fields, call["dim"] % len(call.shape), call.shape)


def stack(call: Call) -> Field:
    """Tensors one behind the other along a new dimension; each of its units is given what any of them sees."""
    dim = call["dim"] % len(call.shape)
    field = united(call.fields, (*call.shape[:dim], *call.shape[dim + 1 :]))
    return Field(call.shape, tuple(replace(p, positions=p.positions.unsqueeze(dim)) for p in field.parts))


def _indexed(call: Call) -> list[int]:
    """The dimensions along which index tensors pick; all of them if the result has another number of dimensions."""
    if len(call.shape) != len(call.fields[0].shape):
        return list(range(len(call.fields[0].shape)))
    if call.name == "index_select":
        return [call["dim"]]
    return [dim for dim, index in enumerate(call["indices"]) if index is not None]


def _without(field: Field, dims: Sequence[int]) -> Field:
    """Drop dimensions of size 1."""
    shape = tuple(size for dim, size in enumerate(field.shape) if dim not in dims)
    return Field(shape, tuple(replace(p, positions=p.positions.squeeze(tuple(dims))) for p in field.parts))


def _resized(field: Field, shape: Sequence[int]) -> Field:
    """The same with another number of channels, along which nothing moves."""
    return replace(field, shape=tuple(shape))
