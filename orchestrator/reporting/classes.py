"""Figures by class: confusion, accuracy with its interval, and how often each class occurs."""

from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from orchestrator.data import measure
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.fonts import columns
from orchestrator.reporting.measures import class_counts, wilson_interval
from orchestrator.reporting.names import class_names
from orchestrator.reporting.style import (
    BLUE,
    BLUES,
    GREEN,
    HAIRLINE,
    INK,
    NORMAL,
    ORANGE,
    QUIET,
    SKY,
    SMALL,
    VERMILION,
    beside,
    message,
    new_figure,
    percent,
    percent_axis,
    quiet_axes,
    title,
)

WITH_COUNTS = 20  # classes up to which cells show their counts
MOST_ROWS = 40  # bars that fit on one page
MOST_CLASSES = 1_000  # of a confusion matrix, whose memory grows with their square


def draw_confusion(context: ReportContext) -> Figure:
    """Rows are true classes, columns predicted ones; colour is the share of the row, the number is the count."""
    count = len(context.classes)
    if count > MOST_CLASSES:
        return message(f"{count:,} classes are not drawn: their cells would be smaller than a pixel.")
    from sklearn.metrics import confusion_matrix  # takes a second to import

    matrix = confusion_matrix(context.labels, context.predicted, labels=range(count))
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = min(10.0, max(5.0, 2.2 + 0.52 * count))
    figure = new_figure(side + 0.6, side)
    axes: Any = figure.add_subplot()
    shown = axes.imshow(shares, cmap=BLUES, norm=PowerNorm(0.6, 0, 1))  # rare errors stay visible
    names = class_names(context.classes, 16)
    step = -(-count // MOST_ROWS)
    ticks = range(0, count, step)
    turned = max(map(columns, names)) > 4 or count > WITH_COUNTS
    small = SMALL if count <= WITH_COUNTS else 7.0
    axes.set_xticks(ticks, names[::step], fontsize=small, rotation=90 if turned else 0)
    axes.set_yticks(ticks, names[::step], fontsize=small)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xlabel("predicted class", fontsize=NORMAL)
    axes.set_ylabel("true class", fontsize=NORMAL)
    axes.spines[:].set_color(HAIRLINE)
    if count <= WITH_COUNTS:
        axes.set_xticks(np.arange(count - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(count - 1) + 0.5, minor=True)
        axes.grid(visible=True, which="minor", color=HAIRLINE, linewidth=1.3)
        axes.tick_params(which="minor", length=0)
    if count <= WITH_COUNTS:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                column,
                row,
                f"{matrix[row, column]}",
                ha="center",
                va="center",
                fontsize=SMALL if count <= 12 else 7.5,
                fontweight="bold" if row == column else "normal",
                color="white" if shares[row, column] > 0.4 else INK,
            )
    bar: Any = figure.colorbar(shown, ax=axes, shrink=0.5, aspect=25, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=SMALL, labelcolor=QUIET)
    percent_axis(bar.ax.yaxis)
    title(axes, "Confusion matrix")
    return figure


def draw_class_accuracy(context: ReportContext) -> Figure:
    """Bars sorted by accuracy with 95 % Wilson intervals; of many classes the lowest and the highest."""
    counted = zip(class_names(context.classes, 24), *class_counts(context), strict=True)
    rows = [(correct / count, correct, count, name) for name, correct, count in counted if count]
    rows.sort(key=lambda row: row[0])
    total, note = len(rows), "black lines: 95 % Wilson intervals"
    if total > MOST_ROWS:
        rows = rows[: MOST_ROWS // 2] + rows[-MOST_ROWS // 2 :]
        note = f"the {MOST_ROWS // 2} lowest and the {MOST_ROWS // 2} highest of {total} classes, 95 % Wilson intervals"
    figure = new_figure(7.5, max(2.2, 1.1 + 0.3 * len(rows)))
    axes = figure.add_subplot()
    quiet_axes(axes, grid="x")
    overall = float(context.correct.mean())
    for height, (share, correct, count, _) in enumerate(rows):
        low, high = wilson_interval(correct, count)
        axes.barh(height, share, height=0.72, color=BLUE if share >= overall else SKY)
        axes.plot([low, high], [height, height], color=INK, linewidth=1.4, solid_capstyle="butt")
        beside(axes, height, f"{percent(share)}  of {count:,}", 6, fontsize=SMALL, color=INK)
    axes.axvline(overall, color=VERMILION, linewidth=1.4, linestyle="--")
    axes.set_yticks(range(len(rows)), [name for *_, name in rows], fontsize=NORMAL)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 1)
    percent_axis(axes.xaxis)
    axes.set_xlabel(f"test accuracy ({note})", fontsize=NORMAL)
    title(axes, "Accuracy of each class", f"┆ all images {percent(overall, 2)}", VERMILION)
    return figure


def draw_class_distribution(context: ReportContext) -> Figure:
    """How many images of each class are in training, validation and test; mean and deviation of each channel."""
    count = len(context.classes)
    everything = context.dataset.train.labels
    learned = np.bincount(everything[context.training_indices].numpy(), minlength=count)
    held_out = np.bincount(everything.numpy(), minlength=count) - learned
    if (own := context.dataset.validation) is not None:
        held_out = np.bincount(own.labels.numpy(), minlength=count)
    tested = np.bincount(context.labels, minlength=count)
    figure = new_figure(9.0, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[2.5, 1])
    quiet_axes(left)
    parts = [("training", learned, BLUE), ("validation", held_out, ORANGE), ("test", tested, GREEN)]
    parts = [part for part in parts if part[1].any()]
    places = np.arange(count)
    width = 0.84 / len(parts)
    for number, (name, counts, colour) in enumerate(parts):
        label = f"{name} {counts.sum():,}"
        if count <= MOST_ROWS:
            left.bar(places + (number - (len(parts) - 1) / 2) * width, counts, width * 0.94, color=colour, label=label)
        else:
            left.stairs(counts, np.arange(count + 1) - 0.5, baseline=None, color=colour, linewidth=1.6, label=label)
    names = class_names(context.classes, 16)
    step = -(-count // MOST_ROWS)
    turned = max(map(columns, names)) * len(names[::step]) > 60  # characters that fit side by side
    left.set_xticks(
        places[::step], names[::step], fontsize=SMALL if count <= 20 else 7, rotation=45 if turned else 0,
        ha="right" if turned else "center", rotation_mode="anchor",
    )  # fmt: skip
    left.set_ylim(0)
    left.set_ylabel("images", fontsize=NORMAL)
    title(left, "Images of each class\n")
    left.legend(
        frameon=False, fontsize=NORMAL, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1,
        borderpad=0.2, handlelength=0.9, columnspacing=1.2,
    )  # fmt: skip
    _channels(right, context)
    return figure


def _channels(axes: Any, context: ReportContext) -> None:
    """Mean and standard deviation of the training and validation images, one point and one bar per channel."""
    quiet_axes(axes)
    title(axes, "Mean ± standard deviation\n", size=NORMAL)
    axes.set_ylim(0, 1)
    found = measure(context.dataset.train.images)  # of both splits: the same whichever images the seed holds out
    colours = (VERMILION, GREEN, BLUE) if len(found.mean) == 3 else (QUIET,)
    for place, (mean, std) in enumerate(zip(found.mean, found.std, strict=True)):
        colour = colours[place]
        axes.plot([place, place], [mean - std, mean + std], color=colour, linewidth=3, alpha=0.45)
        axes.plot([place], [mean], "o", color=colour, markersize=8)
    texts = [f"{mean:.4f}\n± {std:.4f}" for mean, std in zip(found.mean, found.std, strict=True)]
    names = ["red", "green", "blue"] if len(texts) == 3 else ["grey"]
    axes.set_xticks(range(len(texts)), [f"{n}\n{t}" for n, t in zip(names, texts, strict=True)], fontsize=7.5)
    axes.set_xlim(-0.6, len(texts) - 0.4)
