"""From a network to its analysis."""

from collections.abc import Mapping, Sequence

from torch import nn

from orchestrator.contract.analysis import Analysis, Extent, ReceptiveField
from orchestrator.contract.follow import PICTURES, Operation
from orchestrator.contract.recognise import POOLINGS, last_large_map, leaves_no_positions, recognise, view_after
from orchestrator.contract.rows import field_of, layer_rows, narrowest_of
from orchestrator.contract.rules import NORMALISATIONS
from orchestrator.contract.trace import Shape, Trace, TracedLayer, trace
from orchestrator.contract.view import View, picture

CHOSEN = "values at different positions of the image are compared, or may be, in an operation that is not analysed"


def analyse(network: nn.Module, shape: Shape) -> Analysis:
    """Analyse ``network`` for images of ``shape`` (channels, height, width), in evaluation mode.

    It is traced by torch.fx and run on the meta device, without weights' values; the network itself is not touched.
    Receptive fields are those of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural
    Networks" (Distill 2019), exact also over branches and resampling; what is unknown is None, with a reason.
    Raises whatever the network itself raises on such an image.
    """
    found = trace(network, shape)
    known = not found.needs_values
    rows = layer_rows(found.layers, known)
    kinds = recognise(found.operations)
    if not kinds["max_pool"] and _pools_in_training(network, shape):
        kinds["max_pool"] = True
    kinds["dropout"] = kinds["dropout"] or any(map(_drops_out, found.layers))
    if not known or _hidden(found):
        kinds = {kind: present or None for kind, present in kinds.items()}
    return Analysis(
        input_shape=shape,
        output_shape=found.output_shape[1:],
        parameters=sum(p.numel() for p in network.parameters()),
        macs=None if found.uncounted else sum(operation.macs for operation in found.operations),
        receptive_field=_receptive_field(found, shape)
        if known
        else ReceptiveField(None, None, None, found.needs_values),
        layers=rows,
        kinds=kinds,
        traced_by=found.traced_by,
        notes=(*found.notes, *_notes(found, kinds)),
    )


def _pools_in_training(network: nn.Module, shape: Shape) -> bool:
    """Whether it takes maxima over positions when it trains, on a batch, with gradients; False if it cannot be run."""
    try:
        return recognise(trace(network, shape, training=True).operations)["max_pool"] is True
    except Exception:  # whatever a user's network raises in training mode; its training says so
        return False


def _hidden(found: Trace) -> str:
    """Why a layer of any kind may be where no operation shows it; empty if it may not."""
    if found.opaque:
        return f"{', '.join(sorted(found.opaque))}: not one of torch's own operations, so it may contain anything"
    return "" if found.output else "how its output depends on the image cannot be traced (for example through numpy)"


def _receptive_field(found: Trace, shape: Shape) -> ReceptiveField:
    if found.output is None:
        return ReceptiveField(None, None, None, "its output does not depend on the image")
    used = _ancestors(found.operations, found.output.operation)
    output, reason = field_of(found.output.view)
    if isinstance(found.output.view, str):
        return ReceptiveField(None, None, None, reason)
    features, features_reason = _features(used, picture((PICTURES, *shape)))
    return ReceptiveField(features, output, narrowest_of(found.output.view), reason or features_reason)


def _features(used: Sequence[Operation], start: View) -> tuple[Extent | None, str]:
    """The receptive field of the last map before global pooling; of the last map if there is no global pooling."""
    for operation in used:
        if isinstance(operation.output.view, str):
            return None, operation.output.view
    head = last_large_map(used)
    pooling = next((o.number for o in used if o.number > head and _is_global_pooling(o)), None)
    maps = [v for o in used if (pooling is None or o.number < pooling) and (v := view_after(o)) and v.is_map]
    return field_of(maps[-1] if maps else start)


def _is_global_pooling(operation: Operation) -> bool:
    view = operation.inputs[0].view
    larger = isinstance(view, View) and view.spatial_extent() > 1
    return operation.name in POOLINGS and larger and leaves_no_positions(operation)


def _drops_out(layer: TracedLayer) -> bool:
    """Whether a module of torch's own in it drops out in training only, which no operation of an evaluation shows."""
    modules = [] if layer.module is None else list(layer.module.modules())
    attention = any(isinstance(m, nn.MultiheadAttention) and m.dropout > 0 for m in modules)
    return attention or any(isinstance(m, nn.RNNBase) and m.dropout > 0 and m.num_layers > 1 for m in modules)


def _ancestors(operations: Sequence[Operation], last: int) -> list[Operation]:
    """The operations that the one with number ``last`` depends on, itself included, in order."""
    wanted = {last}
    for operation in reversed(operations):
        if operation.number in wanted:
            wanted |= {mark.operation for mark in operation.inputs}
    return [operation for operation in operations if operation.number in wanted]


def _notes(found: Trace, kinds: Mapping[str, bool | None]) -> list[str]:
    notes = []
    if any(o.name in NORMALISATIONS and "batch_norm" not in o.name and _over_positions(o) for o in found.operations):
        notes.append("normalisation over positions is not counted in the receptive field, as usual")
    if found.uncounted:
        notes.append(f"MACs are unknown: there is no rule for {', '.join(sorted(found.uncounted))}")
    if not found.needs_values and None in kinds.values():
        lost = _hidden(found) or next((operation.lost for operation in found.operations if operation.lost), CHOSEN)
        notes.append(f"{lost}; some kinds of layers cannot be recognised after it")
    if found.needs_values:
        notes.append(f"{found.needs_values}: layers and MACs are those for one random image")
    return notes


def _over_positions(operation: Operation) -> bool:
    """Whether a group, instance or layer normalisation takes its figures over positions of a map."""
    view = operation.inputs[0].view
    if not isinstance(view, View):
        return False
    normalised = operation.arguments.get("normalized_shape")
    first = len(view.dims) - len(normalised) if normalised is not None else 2
    return any(view.axes_of(dim) and view.shape[dim] > 1 for dim in range(first, len(view.dims)))
