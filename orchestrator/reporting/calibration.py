"""Calibration: whether the network's confidence matches its accuracy."""

import numpy as np
from matplotlib.figure import Figure

from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.measures import calibration
from orchestrator.reporting.style import (
    BLUE,
    INK,
    NORMAL,
    ORANGE,
    QUIET,
    SKY,
    SMALL,
    VERMILION,
    new_figure,
    percent,
    percent_axis,
    quiet_axes,
    title,
)


def draw_calibration(context: ReportContext) -> Figure:
    """Reliability diagram with 15 equal-width bins, their gaps to the diagonal, and the size of each bin."""
    found = calibration(context.confidences, context.correct)
    width = found.edges[1]
    centres = (found.edges[:-1] + found.edges[1:]) / 2
    filled = found.counts > 0
    figure = new_figure(6.0, 6.2)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, 1])
    quiet_axes(top, grid="both")
    quiet_axes(bottom)
    bottom.tick_params(axis="x", pad=6)
    at, accuracy, confidence = centres[filled], found.accuracies[filled], found.confidences[filled]
    low, high = np.minimum(accuracy, confidence), np.maximum(accuracy, confidence)
    top.bar(at, low, width * 0.92, color=BLUE, label="accuracy")
    for name, mask, colour in (
        ("confidence above accuracy", confidence > accuracy, VERMILION),
        ("accuracy above confidence", accuracy > confidence, SKY),
    ):
        if mask.any():
            gap = (high - low)[mask]
            top.bar(at[mask], gap, width * 0.92, bottom=low[mask], color=colour, alpha=0.45, label=name)
    top.plot([0, 1], [0, 1], color=INK, linewidth=1.2, linestyle="--", label="perfectly calibrated")
    top.legend(frameon=False, fontsize=NORMAL, loc="upper left")
    top.set_ylim(0, 1)
    top.set_ylabel("accuracy of the bin", fontsize=NORMAL)
    percent_axis(top.yaxis)
    title(top, "Calibration", f"expected calibration error {percent(found.expected_error, 2)}", VERMILION)
    bottom.bar(centres, found.counts / max(1, found.counts.sum()), width * 0.92, color=QUIET)
    for value, name, colour in (
        (float(context.confidences.mean()), "mean confidence", ORANGE),
        (float(context.correct.mean()), "accuracy", BLUE),
    ):
        bottom.axvline(value, color=colour, linewidth=2, label=f"{name} {percent(value)}")
    bottom.legend(frameon=False, fontsize=SMALL, loc="upper left")
    bottom.set_xlim(0, 1)
    bottom.set_ylabel("images", fontsize=NORMAL)
    bottom.set_xlabel("confidence", fontsize=NORMAL)
    percent_axis(bottom.yaxis)
    percent_axis(bottom.xaxis)
    return figure
