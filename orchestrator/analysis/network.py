"""From a network to its analysis."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from orchestrator.analysis.copy_network import copy_on, dtype_of
from orchestrator.analysis.field import Field, image_field
from orchestrator.analysis.layers import layer_rows, size_of
from orchestrator.analysis.operations import NORMALISATIONS, POOLINGS
from orchestrator.analysis.outputs import main_output
from orchestrator.analysis.record import BATCH
from orchestrator.analysis.recorded import Operation
from orchestrator.analysis.results import Analysis, Extent, ReceptiveField
from orchestrator.analysis.trace import Shape, Trace, first_line, trace
from orchestrator.analysis.training_mode import training_operations


def analyse(network: nn.Module, shape: Shape) -> Analysis:
    """Analyse ``network`` for images of ``shape`` (channels, height, width), in evaluation mode.

    It is traced by torch.fx and run a few times on random images; the network itself is not touched. Receptive fields
    are those of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019),
    exact also over branches and resampling; what is unknown is None, with a reason.
    Of a network that works, but not while it is recorded, only the parameters are known. Raises whatever the network
    itself raises on such an image.
    """
    try:
        found = trace(network, shape)
    except Exception as problem:  # whatever torch or the network raises
        return _without_trace(network, shape, f"its operations cannot be recorded ({first_line(problem)})")
    return Analysis(
        input_shape=shape,
        output_shape=found.output_shape[1:],
        parameters=sum(p.numel() for p in network.parameters()),
        macs=None if found.uncounted else sum(operation.macs for operation in found.operations),
        receptive_field=_receptive_field(found, shape),
        layers=layer_rows(found.layers, not found.needs_values),
        traced_by=found.traced_by,
        notes=(*found.notes, *_notes(found)),
        operations=tuple(found.operations),
        training_operations=tuple(training_operations(network, shape, found)),
        hidden=found.needs_values or _hidden(found),
    )


def _without_trace(network: nn.Module, shape: Shape, reason: str) -> Analysis:
    device = "meta" if any(p.is_meta for p in network.parameters()) else "cpu"
    copied = copy_on(network, device)
    copied.train(False)  # a network's own may return nothing
    images = torch.zeros(BATCH, *shape, dtype=dtype_of(copied), device=device)
    # Only where it must be: torch cannot compile under it, which some operations do with themselves.
    made_there = torch.device(device) if device == "meta" else nullcontext()
    if "torch._dynamo" in sys.modules:  # nor after it was tried under the recorder
        torch.compiler.reset()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), made_there:
        output = main_output(copied(images))
    if not isinstance(output, Tensor):
        raise TypeError(f"its output is of type {type(output).__name__} and holds no tensor")
    return Analysis(
        input_shape=shape,
        output_shape=tuple(output.shape[1:]),
        parameters=sum(p.numel() for p in network.parameters()),
        macs=None,
        receptive_field=ReceptiveField(None, None, reason),
        layers=(),
        traced_by="hooks",
        notes=(f"{reason}; only its parameters are known",),
        hidden=reason,
    )


def _hidden(found: Trace) -> str:
    """Why a layer of any kind may be where no operation shows it; empty if it may not."""
    if found.opaque:
        return f"{', '.join(sorted(found.opaque))}: not one of torch's own operations, so it may contain anything"
    return "" if found.output else "how its output depends on the image cannot be traced (for example through numpy)"


def _receptive_field(found: Trace, shape: Shape) -> ReceptiveField:
    if found.needs_values:
        return ReceptiveField(None, None, found.needs_values)
    if found.output is None:
        return ReceptiveField(None, None, "its output does not depend on the image")
    output, reason = size_of(found.output.field)
    if isinstance(found.output.field, str):
        return ReceptiveField(None, None, reason)
    used = _ancestors(found.operations, found.output.operation)
    features, features_reason = _features(used, image_field((BATCH, *shape)))
    return ReceptiveField(features, output, reason or features_reason)


def _features(used: Sequence[Operation], start: Field) -> tuple[Extent | None, str]:
    """The receptive field of the last map before global pooling; of the last map if there is no global pooling."""
    for operation in used:
        if isinstance(operation.output.field, str):
            return None, operation.output.field
    head = last_large_map(used)
    pooling = next((o.number for o in used if o.number > head and _is_global_pooling(o)), None)
    maps = [f for o in used if (pooling is None or o.number < pooling) and (f := o.field_after) and f.is_map]
    return size_of(maps[-1] if maps else start)


def last_large_map(operations: Sequence[Operation]) -> int:
    """The number of the last operation that makes a feature map with more than one position; -1 if none does."""
    large = (o for o in operations if (f := o.field_after) and f.is_map and f.spatial_extent() > 1)
    return max((operation.number for operation in large), default=-1)


def _is_global_pooling(operation: Operation) -> bool:
    before = operation.field_before
    return operation.name in POOLINGS and before is not None and before.spatial_extent() > 1 and operation.pools_all


def _ancestors(operations: Sequence[Operation], last: int) -> list[Operation]:
    """The operations that the one with number ``last`` depends on, itself included, in order."""
    wanted = {last}
    for operation in reversed(operations):
        if operation.number in wanted:
            wanted |= {before.operation for before in operation.inputs}
    return [operation for operation in operations if operation.number in wanted]


def _notes(found: Trace) -> list[str]:
    notes = []
    if any(o.name in NORMALISATIONS and "batch_norm" not in o.name and _over_positions(o) for o in found.operations):
        notes.append("normalisation over positions is not counted in the receptive field, as usual")
    if found.uncounted:
        notes.append(f"MACs are unknown: there is no rule for {', '.join(sorted(found.uncounted))}")
    if found.needs_values:
        notes.append(f"{found.needs_values}: layers and MACs are those for one random image")
    return notes


def _over_positions(operation: Operation) -> bool:
    """Whether a group, instance or layer normalisation takes its figures over positions of a map."""
    if (before := operation.field_before) is None:
        return False
    normalised = operation.arguments.get("normalized_shape")
    first = len(before.shape) - len(normalised) if normalised is not None else 2
    return any(before.axes_of(dim) and before.shape[dim] > 1 for dim in range(first, len(before.shape)))
