"""Every metric by epoch that the training curves do not show: one small diagram for each."""

from typing import Any

from matplotlib.figure import Figure

from orchestrator import records as keys
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.curves import SHOWN
from orchestrator.reporting.style import (
    BLUE,
    ORANGE,
    SMALL,
    literal,
    message,
    new_figure,
    quiet_axes,
    title,
    whole_numbers,
)

COLUMNS = 3
WIDTH, HEIGHT = 3.0, 1.7  # inches of one diagram
COLOURS = {"train": ORANGE, "val": BLUE, "test": BLUE}


def draw_metrics(context: ReportContext) -> Figure:
    """A grid of diagrams, one for each metric; what is measured on several splits shares one."""
    panels: dict[str, list[str]] = {}  # names of metrics, by what they measure
    for name in context.metrics:
        split, _, measured = name.partition("/")
        if measured not in SHOWN and name not in SHOWN:
            panels.setdefault(measured if split in COLOURS else name, []).append(name)
    if not panels:
        return message("No other metric was recorded.")
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(WIDTH * COLUMNS, HEIGHT * rows + 0.3)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes, (measured, names) in zip(grid, panels.items(), strict=False):
        _draw(axes, context, names[0] if len(names) == 1 else measured, names)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _draw(axes: Any, context: ReportContext, heading: str, names: list[str]) -> None:
    quiet_axes(axes)
    whole_numbers(axes.xaxis)
    title(axes, literal(heading.removeprefix(keys.SYSTEM).replace("_", " "), 36), size=SMALL)
    for name in names:
        split = name.partition("/")[0]
        epochs, values = zip(*context.curve(name), strict=True)
        axes.plot(epochs, values, color=COLOURS.get(split, BLUE), label=split, marker="o" if len(values) < 3 else "")
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=SMALL)
    axes.margins(x=0.02, y=0.15)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_xlabel("epoch", fontsize=SMALL)
