"""The receptive field of an output: boxes over an image, and its growth layer by layer."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.formatting import extent_text, height_and_width
from orchestrator.reporting.style import (
    BLUE,
    INK,
    NORMAL,
    QUIET,
    SMALL,
    VERMILION,
    literal,
    message,
    new_figure,
    quiet_axes,
    title,
    whole_numbers,
)

HALO = withStroke(linewidth=3, foreground="white")  # keeps text legible over lines and images
ROOM = 2.6  # image sizes that are drawn at most; a larger field is drawn at the edge, with its number


def draw_receptive_field(context: ReportContext) -> Figure:
    """Left: the fields before and after global pooling around the centre of a test image. Right: their growth."""
    analysis = context.analysed
    field = analysis.receptive_field
    known = [("before global pooling", field.features, VERMILION), ("output", field.output, BLUE)]
    if field.features == field.output:
        known = known[1:]
    fields = [(name, height_and_width(size), colour) for name, size, colour in known if size is not None]
    if not fields:
        return message(f"The receptive field is unknown: {literal(field.reason, 90)}")
    figure = new_figure(8.5, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    _boxes(left, context, fields)
    _growth(right, context, [max(height_and_width(row.receptive_field or 1)) for row in analysis.layers])
    return figure


def _boxes(axes: Any, context: ReportContext, fields: list[tuple[str, tuple[int, int], str]]) -> None:
    """The image in the middle; a field inside it is a full line, one that is larger a dashed line."""
    image = context.test_image(0)
    height, width = image.shape[:2]
    largest = ROOM * max(height, width)
    axes.imshow(image, extent=(-width / 2, width / 2, height / 2, -height / 2), interpolation="nearest", zorder=1)
    half = max(height, width, min(largest, max(max(size) for _, size, _ in fields))) / 2
    for name, (high, wide), colour in fields:
        tall, broad = min(high, largest), min(wide, largest)
        style = (0, (4, 2)) if high > height or wide > width else "-"
        corner = (-broad / 2, -tall / 2)
        axes.add_patch(
            Rectangle(corner, broad, tall, fill=False, edgecolor=colour, linewidth=2.2, linestyle=style, zorder=3)
        )
        above = name == "output"
        axes.annotate(
            f"{name}: {extent_text((high, wide))}", (-broad / 2, -tall / 2 if above else tall / 2),
            xytext=(0, 3 if above else -3), textcoords="offset points", va="bottom" if above else "top",
            fontsize=NORMAL, fontweight="bold", color=colour, zorder=4, path_effects=[HALO],
        )  # fmt: skip
    axes.set_xlim(-half * 1.04, half * 1.04)
    axes.set_ylim(half * 1.2, -half * 1.2)
    axes.set_axis_off()
    title(axes, "Receptive field")


def _growth(axes: Any, context: ReportContext, fields: list[int]) -> None:
    """The largest field so far after each layer (branches follow one another), and the image's size as a line."""
    steps = [(0, 1)]
    for number, size in enumerate(fields, start=1):
        if size > steps[-1][1]:
            steps.append((number, size))
    steps.append((len(fields), steps[-1][1]))
    quiet_axes(axes)
    axes.step(*zip(*steps, strict=True), where="post", color=BLUE, linewidth=2)
    side = min(context.dataset.shape[1:])
    axes.axhline(side, color=QUIET, linewidth=1, linestyle="--")
    axes.annotate(
        f"image {side} px", (0, side), xycoords=axes.get_yaxis_transform(), xytext=(2, 3), textcoords="offset points",
        fontsize=SMALL, color=QUIET,
    )  # fmt: skip
    axes.set_xlim(0, max(1, len(fields)))
    axes.set_ylim(0)
    whole_numbers(axes.xaxis)
    axes.set_xlabel("layers", fontsize=NORMAL, color=INK)
    axes.set_ylabel("receptive field, pixels", fontsize=NORMAL, color=INK)
    title(axes, "Growth layer by layer")
