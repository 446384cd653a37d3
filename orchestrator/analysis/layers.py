"""The layer table: shape, parameters, geometry, jump and receptive field of every layer of a trace."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import nn

from orchestrator.analysis.field import AXES, Field
from orchestrator.analysis.intervals import UnknownFieldError
from orchestrator.analysis.operations import POOLINGS
from orchestrator.analysis.recorded import Operation, TracedLayer
from orchestrator.analysis.results import Extent, LayerRow, Step


def layer_rows(layers: Sequence[TracedLayer], known: bool) -> tuple[LayerRow, ...]:
    """One row per layer; receptive fields only if they are ``known`` to hold for every image."""
    rows: list[LayerRow] = []
    jumps: dict[str, Step | None] = {}
    counted: set[int] = set()
    for layer in layers:
        field = layer.output.field if known else "its path depends on the image"
        before = next((jumps[name] for name in layer.sources if name in jumps), 1)
        jumps[layer.name] = _jump(field, before)
        parameters = [] if layer.module is None else [p for p in layer.module.parameters() if id(p) not in counted]
        counted |= {id(p) for p in parameters}
        rows.append(
            LayerRow(
                name=layer.name,
                type=layer.type,
                output_shape=layer.shape[1:],
                parameters=sum(p.numel() for p in parameters),
                **_geometry(layer.operations),
                jump=jumps[layer.name],
                receptive_field=size_of(field)[0],
                inputs=layer.sources,
                macs=sum(operation.macs for operation in layer.operations),
                block=layer.block,
                inner_dropout=_inner_dropout(layer.module),
            )
        )
    return tuple(rows)


def size_of(field: Field | str) -> tuple[Extent | None, str]:
    """The receptive field in pixels, or None and why."""
    if isinstance(field, str):
        return None, field
    try:
        return _extent([field.size(axis) for axis in AXES]), ""
    except UnknownFieldError as reason:
        return None, str(reason)


def _extent(pair: Sequence[int]) -> Extent:
    """One number for both axes if they agree."""
    first, last = int(pair[0]), int(pair[-1])
    return first if first == last else (first, last)


def _jump(field: Field | str, before: Step | None) -> Step | None:
    if isinstance(field, str):
        return None
    found = [field.jump(axis) for axis in AXES]
    pair = before if isinstance(before, tuple) else (before, before)
    height, width = (was if jump is None else _number(jump) for jump, was in zip(found, pair, strict=True))
    if height is None or width is None:
        return None
    return height if height == width else (height, width)


def _number(jump: Fraction) -> int | float:
    return int(jump) if jump.denominator == 1 else float(jump)


def _geometry(operations: Sequence[Operation]) -> dict[str, Any]:
    """Kernel, stride, padding, dilation and groups of the window that slides in a layer; None where none does."""
    empty: dict[str, Any] = dict.fromkeys(("kernel", "stride", "padding", "dilation", "groups"))
    for operation in operations:
        given = operation.arguments
        if operation.name == "convolution":
            geometry = {key: _extent(given[key]) for key in ("stride", "padding", "dilation")}
            return {"kernel": _extent(given["weight"][2:]), **geometry, "groups": given["groups"]}
        if operation.name in ("avg_pool2d", "max_pool2d_with_indices", "im2col"):
            window = {"stride": given["stride"] or given["kernel_size"], "dilation": given.get("dilation", [1])}
            pairs = {"kernel": given["kernel_size"], "padding": given["padding"], **window}
            return {**empty, **{key: _extent(pair) for key, pair in pairs.items()}}
        if operation.name in POOLINGS and operation.pools_all and (field := operation.field_before):
            sizes = [n for dim, n in enumerate(field.shape) if field.axes_of(dim)]
            return {**empty, "kernel": _extent(sizes)} if len(sizes) == 2 else empty
    return empty


def _inner_dropout(module: nn.Module | None) -> float:
    """The dropout of attention and recurrent layers, which no operation of an evaluation shows."""
    found = [0.0]
    for inner in () if module is None else module.modules():
        if isinstance(inner, nn.MultiheadAttention) or (isinstance(inner, nn.RNNBase) and inner.num_layers > 1):
            found.append(float(inner.dropout))
    return max(found)
