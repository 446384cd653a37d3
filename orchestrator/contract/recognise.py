"""Which kinds of layer a network holds, recognised by what is computed rather than by what it is called."""

from collections.abc import Callable, Sequence

from orchestrator.contract import arranging, mixing
from orchestrator.contract.follow import Operation
from orchestrator.contract.rules import AVERAGE, DROPOUTS, MAXIMUM, NORMALISATIONS, PRODUCTS, REDUCTIONS, RULES
from orchestrator.contract.view import View

BATCH_NORMS = ("batch_norm", "cudnn_batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
POOLINGS = frozenset((*AVERAGE, *MAXIMUM, *REDUCTIONS))
# What passes elements on without weighing neighbours or channels against one another.
PASSING = (arranging.untouched, arranging.permuted, arranging.reshaped, mixing.pointwise)


def recognise(operations: Sequence[Operation]) -> dict[str, bool]:
    """Presence of each kind that an experiment file may require or forbid; docs/receptive-field.md defines them."""
    layers = layers_before(operations)
    head = last_large_map(operations)
    tests: dict[str, Callable[[Operation], bool]] = {
        "depthwise_separable": lambda o: _is_depthwise(o) and _pointwise_follows(o, operations),
        "dilated": _is_dilated,
        "global_average_pooling": lambda o: o.name in AVERAGE and o.number > head and leaves_no_positions(o),
        "grouped": lambda o: o.name == "convolution" and 1 < o.arguments["groups"] < o.arguments["input"][1],
        "residual": lambda o: _is_residual(o, layers),
        "concatenation": _is_concatenation,
        "max_pool": lambda o: o.name in MAXIMUM or (o.name in ("amax", "max") and leaves_no_positions(o)),
        "batch_norm": lambda o: o.name in BATCH_NORMS,
        "dropout": lambda o: o.name in DROPOUTS and o.arguments["p"] > 0,
    }
    return {kind: any(map(test, operations)) for kind, test in tests.items()}


def last_large_map(operations: Sequence[Operation]) -> int:
    """The number of the last operation that makes a feature map with more than one position; -1 if none does."""
    return max(
        (o.number for o in operations if (v := view_after(o)) and v.is_map and v.spatial_extent() > 1), default=-1
    )


def leaves_no_positions(operation: Operation) -> bool:
    """Whether it takes a map, or what is left of one after one axis was pooled, to a single position or none."""
    before, after = view_before(operation), view_after(operation)
    if before is None or after is None or after.spatial_extent() > 1:
        return False
    return before.spatial_extent() > 1 or _bound(before) > _bound(after)


def view_before(operation: Operation) -> View | None:
    """What the first tensor that it takes sees, where that is known."""
    view = operation.inputs[0].view
    return view if isinstance(view, View) else None


def view_after(operation: Operation) -> View | None:
    """What its result sees, where that is known."""
    return operation.output.view if isinstance(operation.output.view, View) else None


def layers_before(operations: Sequence[Operation]) -> dict[int, frozenset[int]]:
    """For each operation, itself and those before it that weigh elements against one another, as convolutions do."""
    found: dict[int, frozenset[int]] = {-1: frozenset()}
    for operation in operations:
        before = frozenset().union(*(found[mark.operation] for mark in operation.inputs))
        passes = operation.name in NORMALISATIONS or _passes(operation)
        found[operation.number] = before if passes else before | {operation.number}
    return found


def _bound(view: View) -> int:
    return sum(len(view.axes_of(dim)) for dim in range(len(view.dims)))


def _passes(operation: Operation) -> bool:
    return RULES.get(operation.name, mixing.pointwise) in PASSING


def _is_depthwise(operation: Operation) -> bool:
    if operation.name != "convolution":
        return False
    groups, channels = operation.arguments["groups"], operation.arguments["input"][1]
    return bool(groups == channels > 1 and max(operation.arguments["weight"][2:]) > 1)


def _pointwise_follows(depthwise: Operation, operations: Sequence[Operation]) -> bool:
    """Whether a 1 x 1 convolution takes its channels, with nothing but what passes elements on in between."""
    reached = {depthwise.number}
    for operation in operations[depthwise.number + 1 :]:
        if not any(mark.operation in reached for mark in operation.inputs):
            continue
        if _is_pointwise(operation):
            return True
        if _passes(operation):
            reached.add(operation.number)
    return False


def _is_pointwise(operation: Operation) -> bool:
    """A 1 x 1 convolution without groups, or a linear layer over the channels of each position."""
    if operation.name == "convolution":
        return bool(operation.arguments["groups"] == 1 and max(operation.arguments["weight"][2:]) == 1)
    before = view_before(operation)
    return operation.name in PRODUCTS and before is not None and not before.axes_of(-1) and _bound(before) > 0


def _is_dilated(operation: Operation) -> bool:
    if operation.name != "convolution":
        return False
    kernel, dilation = operation.arguments["weight"][2:], operation.arguments["dilation"]
    return any(k > 1 and d > 1 for k, d in zip(kernel, dilation, strict=True))


def _is_residual(operation: Operation, layers: dict[int, frozenset[int]]) -> bool:
    """A sum of two tensors of one shape that come from the picture through different layers."""
    if operation.name not in ("add", "add_") or len(operation.inputs) != 2:
        return False
    first, second = (layers[mark.operation] for mark in operation.inputs)
    same_shape: bool = operation.arguments["self"] == operation.arguments["other"]
    return same_shape and first != second


def _is_concatenation(operation: Operation) -> bool:
    if operation.name != "cat" or len(operation.inputs) < 2:
        return False
    after = view_after(operation)
    dim = operation.arguments["dim"] % len(operation.shape)
    return len(operation.shape) == 4 and dim == 1 if after is None else after.is_map and not after.axes_of(dim)
