"""The tables of a network: its layers, and the growth of its receptive field."""

from orchestrator.analysis import LayerRow, Step
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.formatting import height_and_width, shape_text
from orchestrator.reporting.tables import Cell, Content


def layers(context: ReportContext) -> Content:
    """Every layer with its output shape, parameters and multiply-accumulates."""
    rows: list[list[Cell]] = [
        [row.name, row.type, shape_text(row.output_shape), row.parameters, row.macs, row.block]
        for row in context.analysed.layers
    ]
    columns = ("layer", "type", "output shape", "parameters", "MACs", "block")
    return columns, rows


def receptive_field(context: ReportContext) -> Content:
    """Kernel, padding, stride, dilation, jump, size and receptive field, in and out, of each layer, in pixels.

    The input of a layer that joins branches is that of the branch with the largest field.
    """
    found = context.analysed
    computed: dict[str, LayerRow] = {}  # the latest, of a layer that is called more than once
    rows: list[list[Cell]] = []
    for row in found.layers:
        feeding = [computed[name] for name in row.inputs if name in computed]
        before = max(feeding, key=lambda r: max(height_and_width(r.receptive_field or 0)), default=None)
        geometry = [_cell(value) for value in (row.kernel, row.padding, row.stride, row.dilation)]
        jumps = (_cell(before.jump) if before else 1, _cell(row.jump))
        fields = (_cell(before.receptive_field) if before else 1, _cell(row.receptive_field))
        rows.append([row.name, row.type, *geometry, *jumps, shape_text(row.output_shape[1:]), *fields])
        computed[row.name] = row
    columns = (
        "layer", "type", "kernel", "padding", "stride", "dilation", "jump in", "jump out", "size",
        "receptive field in", "receptive field out",
    )  # fmt: skip
    return columns, rows


def _cell(value: Step | None) -> Cell:
    """One number where both axes agree."""
    return shape_text(value) if isinstance(value, tuple) else value
