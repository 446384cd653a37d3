"""Which kinds of layers a network contains, recognised by what is computed rather than by names."""

from collections.abc import Callable, Iterable, Sequence

from orchestrator.analysis import Analysis, receptive_field
from orchestrator.analysis.field import AXES, Field
from orchestrator.analysis.network import last_large_map
from orchestrator.analysis.operations import (
    AVERAGE,
    COPIES,
    DROPOUTS,
    MAXIMUM,
    NORMALISATIONS,
    PERMUTATIONS,
    PRODUCTS,
    RESHAPES,
    RULES,
)
from orchestrator.analysis.recorded import Operation

# What picks elements by their size, along a dimension or of two tensors: of the negative, the least is the largest.
PICKS = frozenset(("amax", "max", "amin", "min", "aminmax", "argmax", "argmin", "topk", "sort", "msort", "kthvalue"))
PICKS |= {"median", "nanmedian", "mode", "cummax", "cummin", "maximum", "minimum", "fmax", "fmin"}
PICKS |= {"clamp", "clamp_min", "clamp_max"}
FOLDS = frozenset(("relu", "leaky_relu", "abs", "threshold", "hardtanh"))  # a + relu(b - a) is the larger of a and b
PICKING_WORDS = ("max", "min", "sort", "topk", "reduce")  # in names of operations without a rule
BATCH_NORMS = ("batch_norm", "cudnn_batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
# Each adds its first tensor to one of the others, weighed or not.
SUMS = frozenset(("add", "add_", "sub", "sub_", "rsub", "lerp", "lerp_", "addcmul", "addcmul_"))
# What passes elements on without weighing neighbours or channels against one another; element-wise operations do too.
PASSING = frozenset((*NORMALISATIONS, *DROPOUTS, *COPIES, *RESHAPES, *PERMUTATIONS, "expand"))
COMPARED = "values at different positions of the image are compared, or may be, in an operation that is not analysed"


def layer_kinds(analysis: Analysis) -> tuple[dict[str, bool | None], str]:
    """Presence of each kind that an experiment file may require or forbid, and why some are not known (None).

    Max pooling counts also if it is computed in training alone.
    """
    kinds = recognise(analysis.operations)
    if not kinds["max_pool"] and recognise(analysis.training_operations)["max_pool"]:
        kinds["max_pool"] = True
    kinds["dropout"] = kinds["dropout"] or any(row.inner_dropout > 0 for row in analysis.layers)
    if analysis.hidden:
        kinds = {kind: present or None for kind, present in kinds.items()}
    if None not in kinds.values():
        return kinds, ""
    return kinds, analysis.hidden or next((o.unknown for o in analysis.operations if o.unknown), COMPARED)


def recognise(operations: Sequence[Operation]) -> dict[str, bool | None]:
    """Presence of each kind that an experiment file may require or forbid; docs/receptive-field.md defines them.

    None where it depends on what an operation sees, and that is not known.
    """
    layers = layers_before(operations)
    head = last_large_map(operations)
    windows = _windows(operations)
    gathered = _gathered(operations)
    tests: dict[str, Callable[[Operation], bool | None]] = {
        "depthwise_separable": lambda o: _is_depthwise(o) and _pointwise_follows(o, operations),
        "dilated": _is_dilated,
        "global_average_pooling": lambda o: o.name in AVERAGE and _is_last_pooling(o, head, operations),
        "grouped": lambda o: o.name == "convolution" and 1 < o.arguments["groups"] < o.arguments["input"][1],
        "residual": lambda o: _is_residual(o, layers),
        "concatenation": _is_concatenation,
        "max_pool": lambda o: o.name in MAXIMUM or _any([_picks_among_positions(o, windows), _may_pick(o, gathered)]),
        "batch_norm": lambda o: o.name in BATCH_NORMS and o.arguments["running_mean"] is not None,
        "dropout": lambda o: o.name in DROPOUTS and o.arguments["p"] > 0,
    }
    return {kind: _any(map(test, operations)) for kind, test in tests.items()}


def _any(found: Iterable[bool | None]) -> bool | None:
    """Whether one is true; None if none is, but one is not known."""
    answers = set(found)
    return True if True in answers else None if None in answers else False


def _pools_all(operation: Operation) -> bool | None:
    """Whether it leaves no positions; None if that is not known."""
    return None if operation.unknown else operation.pools_all


def _windows(operations: Sequence[Operation]) -> set[int]:
    """The operations that lay windows out beside one another (unfold), and those that pass them on."""
    found: set[int] = set()
    for operation in operations:
        passes_on = _passes(operation) and any(before.operation in found for before in operation.inputs)
        if operation.name == "im2col" or passes_on:
            found.add(operation.number)
    return found


def _picks_among_positions(operation: Operation, windows: set[int]) -> bool | None:
    """Whether it picks the largest of several positions, as max pooling does; None if that is not known.

    Along a dimension that moves over the image, or of two tensors that see the image at different places: not the
    largest of several channels, nor of two maps at each place.
    """
    name = operation.name.rstrip("_")
    picks = name in PICKS or _is_infinite_norm(operation)
    if not picks and name != "where":
        return False
    if picks and any(before.operation in windows for before in operation.inputs):
        return True
    known = [before.field for before in operation.inputs if isinstance(before.field, Field)]
    if len(known) < len(operation.inputs):
        return None
    if name == "where":  # which of them is taken, and by what, is not known
        return None if _are_displaced(operation) else False
    if len(known) > 1:
        return _are_displaced(operation)
    if "other" in operation.arguments or name.startswith("clamp"):
        return False  # the other one does not depend on the image
    dim = operation.arguments.get("dim")
    count = len(known[0].shape)
    dims = range(count) if dim is None or dim == [] else dim if isinstance(dim, (list, tuple)) else [dim]
    return any(known[0].axes_of(d % count) for d in dims)


def _is_infinite_norm(operation: Operation) -> bool:
    order = operation.arguments.get("ord", operation.arguments.get("p"))
    return "norm" in operation.name and isinstance(order, (int, float)) and abs(order) == float("inf")


def _are_displaced(operation: Operation) -> bool:
    """Whether maps that it takes see the image at different places; a figure of a whole map has no place."""
    fields = [before.field for before in operation.inputs if isinstance(before.field, Field)]
    return len({_centres(field) for field in fields if field.spatial_extent() > 1}) > 1


def _gathered(operations: Sequence[Operation]) -> set[int]:
    """The operations that bring different places of the image together at one position, and those that pass them on."""
    found: set[int] = set()
    for operation in operations:
        joins = operation.name in ("cat", "stack", "sub", "rsub") and _are_displaced(operation)
        passes_on = _passes(operation) and any(before.operation in found for before in operation.inputs)
        if joins or passes_on or operation.name == "pixel_unshuffle":
            found.add(operation.number)
    return found


def _may_pick(operation: Operation, gathered: set[int]) -> bool | None:
    """None if it may pick the largest of several positions, in a way that is not analysed; else False."""
    name = operation.name.rstrip("_")
    if name in PICKS | FOLDS and any(before.operation in gathered for before in operation.inputs):
        return None
    without_rule = bool(operation.unknown) and operation.name not in RULES and "softmax" not in name
    return None if without_rule and any(word in name for word in PICKING_WORDS) else False


def _centres(field: Field) -> tuple[tuple[int, ...], ...]:
    """Where on the image the first unit looks: for each axis twice the middle of what it sees."""
    first = [(part.axis, part.intervals.at(int(part.positions.flatten()[0]))) for part in field.parts]
    return tuple(tuple(sorted({sum(seen) for axis, seen in first if axis == wanted and seen})) for wanted in AXES)


def _is_last_pooling(operation: Operation, head: int, operations: Sequence[Operation]) -> bool | None:
    """Whether it leaves no positions, and no map with more than one comes after it; None if that is not known."""
    if operation.number < head:
        return False
    found = _pools_all(operation)
    return None if found and any(later.unknown for later in operations[operation.number :]) else found


def layers_before(operations: Sequence[Operation]) -> dict[int, frozenset[int]]:
    """For each operation, itself and those before it that weigh elements against one another, as convolutions do."""
    found: dict[int, frozenset[int]] = {-1: frozenset()}
    for operation in operations:
        before = frozenset().union(*(found[before.operation] for before in operation.inputs))
        passes = _passes(operation)
        found[operation.number] = before if passes else before | {operation.number}
    return found


def _passes(operation: Operation) -> bool:
    return (
        operation.name in PASSING or RULES.get(operation.name, receptive_field.pointwise) is receptive_field.pointwise
    )


def _is_depthwise(operation: Operation) -> bool:
    if operation.name != "convolution":
        return False
    groups, channels = operation.arguments["groups"], operation.arguments["input"][1]
    return bool(groups == channels > 1 and max(operation.arguments["weight"][2:]) > 1)


def _pointwise_follows(depthwise: Operation, operations: Sequence[Operation]) -> bool | None:
    """Whether a 1 x 1 convolution takes its channels, with nothing but what passes elements on in between."""
    reached = {depthwise.number}
    found: bool | None = False
    for operation in operations[depthwise.number + 1 :]:
        if not any(before.operation in reached for before in operation.inputs):
            continue
        takes_channels = _is_pointwise(operation)
        if takes_channels:
            return True
        found = None if takes_channels is None else found
        if _passes(operation):
            reached.add(operation.number)
    return found


def _is_pointwise(operation: Operation) -> bool | None:
    """A 1 x 1 convolution without groups, or a linear layer over the channels of each position."""
    if operation.name == "convolution":
        return bool(operation.arguments["groups"] == 1 and max(operation.arguments["weight"][2:]) == 1)
    if operation.name not in PRODUCTS:
        return False
    before = operation.field_before
    return None if before is None else not before.axes_of(-1) and before.axes_left() > 0


def _is_dilated(operation: Operation) -> bool:
    if operation.name != "convolution":
        return False
    kernel, dilation = operation.arguments["weight"][2:], operation.arguments["dilation"]
    return any(k > 1 and d > 1 for k, d in zip(kernel, dilation, strict=True))


def _is_residual(operation: Operation, layers: dict[int, frozenset[int]]) -> bool:
    """A sum of two tensors of one shape that come from the image through different layers."""
    if operation.name not in SUMS or len(operation.inputs) < 2:
        return False
    first, *others = (layers[before.operation] for before in operation.inputs)
    shapes = list(operation.arguments.values())
    same_shape = operation.arguments["self"] == operation.shape and shapes.count(operation.shape) > 1
    return same_shape and first != frozenset().union(*others)


def _is_concatenation(operation: Operation) -> bool | None:
    if operation.name != "cat" or len(operation.inputs) < 2:
        return False
    after = operation.field_after
    dim, count = operation.arguments["dim"] % len(operation.shape), len(operation.shape)
    if after is None:  # (N, C, H, W) is a map; two dimensions are none
        return (count == 4 and dim == 1) or (None if count > 2 else False)
    return after.is_map and not after.axes_of(dim)
