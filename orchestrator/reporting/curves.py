"""Training curves: accuracy and loss by epoch, the chosen epoch, the learning rate."""

import math
from typing import Any

from matplotlib.figure import Figure

from orchestrator import records as keys
from orchestrator.reporting.context import Curve, ReportContext
from orchestrator.reporting.style import (
    BLUE,
    INK,
    NORMAL,
    ORANGE,
    PURPLE,
    QUIET,
    VERMILION,
    beside,
    message,
    new_figure,
    percent,
    percent_axis,
    quiet_axes,
    spread,
    title,
    whole_numbers,
)

SHOWN = ("accuracy", "loss", keys.LR)  # what these curves show: of every split, or as it is
Line = tuple[str, Curve, str, str]  # label, points, colour, line style


def draw_curves(context: ReportContext) -> Figure:
    """Accuracy at the top, loss in the middle, the learning rate at the bottom; each line is labelled at its end."""
    evaluated = "test" if context.evaluated == "test" else "validation"
    accuracy = [
        ("train", context.curve(keys.TRAIN_ACCURACY), ORANGE, "-"),
        (evaluated, context.curve(f"{context.evaluated}/accuracy"), BLUE, "-"),
        ("published test", _finite(context.published), PURPLE, "--"),
    ]
    loss = [
        ("train", context.curve(keys.TRAIN_LOSS), ORANGE, "-"),
        (evaluated, context.curve(f"{context.evaluated}/loss"), BLUE, "-"),
    ]
    rate = context.curve(keys.LR)
    if not any(points for _, points, _, _ in [*accuracy, *loss]):
        return message("No epoch was completed, so there are no curves.")
    figure = new_figure(8.0, 6.6)
    top, middle, strip = figure.subplots(3, 1, sharex=True, height_ratios=[3.2, 2.2, 0.8])
    for axes in (top, middle, strip):
        quiet_axes(axes)
        whole_numbers(axes.xaxis)
    title(top, "Accuracy", _chosen_note(context, evaluated), VERMILION)
    percent_axis(top.yaxis)
    _lines(top, accuracy, percent)
    title(middle, "Loss")
    _lines(middle, loss, lambda value: f"{value:.3g}")
    _learning_rate(strip, rate)
    _mark_chosen(context, top, middle)
    last = max(points[-1][0] for _, points, _, _ in [*accuracy, *loss] if points)
    strip.set_xlim((0.5, last + 0.5) if last < 3 else (1, last))
    strip.set_xlabel("epoch", fontsize=NORMAL, color=INK)
    return figure


def _lines(axes: Any, lines: list[Line], show: Any) -> None:
    """Draw each line, with its name and last value at its end, without overlaps."""
    drawn = [line for line in lines if line[1]]
    for _, points, colour, style in drawn:
        epochs, values = zip(*points, strict=True)
        axes.plot(
            epochs, values, style, color=colour, linewidth=2, marker="o" if len(points) < 3 else "", clip_on=False
        )
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max(high - low, 0.1) / 2  # ten points, or 0.1 of loss, at least
    low, high = middle - half, middle + half
    inches = axes.figure.get_size_inches()[1] * (0.42 if show is percent else 0.28)  # about the height of the axes
    heights = spread([points[-1][1] for _, points, _, _ in drawn], gap=(high - low) * 0.19 / inches)
    for (name, points, colour, _), height in zip(drawn, heights, strict=True):
        text = f"{name} {show(points[-1][1])}"
        beside(axes, height, text, 8, fontsize=NORMAL, color=colour, fontweight="bold")
    axes.set_ylim(low, high)


def _learning_rate(axes: Any, rate: Curve) -> None:
    title(axes, "Learning rate", size=NORMAL)
    if rate:
        epochs, values = zip(*rate, strict=True)
        axes.fill_between(epochs, values, color=QUIET, alpha=0.25, linewidth=0, step="mid" if len(rate) < 3 else None)
        axes.plot(epochs, values, color=QUIET, linewidth=1.2, marker="o" if len(rate) < 3 else "")
        axes.set_yticks([max(values)], [f"{max(values):.3g}"])
        axes.set_ylim(0, max(values) * 1.15 or 1)
    else:
        axes.set_yticks([])


def _chosen_note(context: ReportContext, evaluated: str) -> str:
    value = dict(context.curve(f"{context.evaluated}/accuracy")).get(context.chosen_epoch or 0)
    if value is None:
        return ""
    return f"○ chosen: epoch {context.chosen_epoch}, {evaluated} {percent(value, 2)}"


def _mark_chosen(context: ReportContext, *all_axes: Any) -> None:
    """A ring on the validation curves and a thin line at the epoch whose weights were kept."""
    chosen = context.chosen_epoch
    for axes, metric in zip(all_axes, ("accuracy", "loss"), strict=True):
        value = dict(context.curve(f"{context.evaluated}/{metric}")).get(chosen or 0)
        if chosen is None or value is None:
            continue
        axes.axvline(chosen, color=VERMILION, linewidth=1, linestyle=":", zorder=1)
        axes.plot(
            [chosen],
            [value],
            "o",
            markersize=9,
            markerfacecolor="none",
            color=VERMILION,
            markeredgewidth=2,
            clip_on=False,
        )


def _finite(points: Any) -> Curve:
    return [(int(epoch), float(value)) for epoch, value in points if math.isfinite(value)]
