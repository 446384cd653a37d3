"""The layer table: geometry, jump and receptive field of every step of a trace."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from orchestrator.contract.analysis import Extent, LayerRow, Step
from orchestrator.contract.follow import Operation
from orchestrator.contract.law import Unfollowable
from orchestrator.contract.recognise import POOLINGS, leaves_no_positions
from orchestrator.contract.trace import TracedLayer
from orchestrator.contract.view import AXES, View


def layer_rows(layers: Sequence[TracedLayer], known: bool) -> tuple[LayerRow, ...]:
    """One row per layer; receptive fields only if they are ``known`` to hold for every image."""
    rows: list[LayerRow] = []
    jumps: dict[str, Step | None] = {}
    counted: set[int] = set()
    for layer in layers:
        view = layer.output.view if known else "its path depends on the image"
        before = next((jumps[name] for name in layer.sources if name in jumps), 1)
        jumps[layer.name] = _jump(view, before)
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
                receptive_field=field_of(view)[0],
                narrowest=narrowest_of(view),
                inputs=layer.sources,
                macs=sum(operation.macs for operation in layer.operations),
                block=layer.block,
            )
        )
    return tuple(rows)


def field_of(view: View | str) -> tuple[Extent | None, str]:
    """The receptive field in pixels, or None and why."""
    if isinstance(view, str):
        return None, view
    try:
        return extent([view.field(axis) for axis in AXES]), ""
    except Unfollowable as reason:
        return None, str(reason)


def narrowest_of(view: View | str) -> Extent | None:
    """The receptive field along the branch that sees least, in pixels; None where it is not known."""
    if isinstance(view, str):
        return None
    try:
        return extent([view.narrowest(axis) for axis in AXES])
    except Unfollowable:
        return None


def extent(pair: Sequence[int]) -> Extent:
    """One number for both axes if they agree."""
    first, last = int(pair[0]), int(pair[-1])
    return first if first == last else (first, last)


def _jump(view: View | str, before: Step | None) -> Step | None:
    if isinstance(view, str):
        return None
    found = [view.jump(axis) for axis in AXES]
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
            geometry = {key: extent(given[key]) for key in ("stride", "padding", "dilation")}
            return {"kernel": extent(given["weight"][2:]), **geometry, "groups": given["groups"]}
        if operation.name in ("avg_pool2d", "max_pool2d_with_indices", "im2col"):
            window = {"stride": given["stride"] or given["kernel_size"], "dilation": given.get("dilation", [1])}
            pairs = {"kernel": given["kernel_size"], "padding": given["padding"], **window}
            return {**empty, **{key: extent(pair) for key, pair in pairs.items()}}
        if operation.name in POOLINGS and leaves_no_positions(operation):
            view = operation.inputs[0].view
            assert isinstance(view, View)  # leaves_no_positions holds only then
            sizes = [n for dim, n in enumerate(view.shape) if view.axes_of(dim)]
            return {**empty, "kernel": extent(sizes)} if len(sizes) == 2 else empty
    return empty
