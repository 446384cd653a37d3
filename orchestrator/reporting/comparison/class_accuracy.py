"""Accuracy of each class by variant, the mean over its seeds."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.naming import figure_names, shortened
from orchestrator.reporting.fonts import columns
from orchestrator.reporting.names import class_name
from orchestrator.reporting.style import (
    BLUES,
    INK,
    NORMAL,
    QUIET,
    SMALL,
    message,
    new_figure,
    percent_axis,
    title,
)
from orchestrator.reporting.tables import Cell, Table

MOST_CLASSES = 40  # columns that fit on one page
WITH_NUMBERS = 16  # columns up to which cells show their accuracy


def class_means(context: ComparisonContext) -> tuple[list[str], NDArray[np.float64]]:
    """Variants with predictions, best first, and (variants, classes) their mean accuracy; nan: class without images."""
    labels, count = context.labels, len(context.classes)
    variants = list(context.right)
    if labels is None or not variants or not count:
        return [], np.zeros((0, count))
    images = np.bincount(labels, minlength=count)
    shares = [context.right[v].mean(axis=0) for v in variants]
    correct = np.stack([np.bincount(labels, weights=share, minlength=count) for share in shares])
    with np.errstate(invalid="ignore"):  # a class without test images: 0 / 0
        return variants, np.asarray(correct / images)


def draw_class_accuracy(context: ComparisonContext) -> Figure:
    """A heat map, one row per variant, best on top; of many classes those on which the variants differ most."""
    variants, means = class_means(context)
    known = [c for c in range(len(context.classes)) if variants and not math.isnan(means[0, c])]
    if not known:
        return message("The predictions of the test images are not known.")
    spread = {c: float(np.ptp(means[:, c])) for c in known}
    shown = sorted(sorted(known, key=lambda c: -spread[c])[:MOST_CLASSES])
    cells = means[:, shown]
    numbers = len(shown) <= WITH_NUMBERS
    figure = new_figure(min(10.0, max(6.0, 3.4 + 0.62 * len(shown))), 1.9 + 0.34 * len(variants))
    axes = figure.add_subplot()
    low = float(cells.min())
    image = axes.imshow(cells, cmap=BLUES, vmin=min(low, 0.99), vmax=1.0, aspect="auto")
    names = figure_names(variants, every=context.variants)
    axes.set_yticks(range(len(variants)), [names[v] for v in variants], fontsize=NORMAL)
    texts = [class_name(context.classes[c], c, 16, shortened) for c in shown]
    turned = max(map(columns, texts)) > 7 or not numbers
    axes.set_xticks(range(len(shown)), texts, fontsize=SMALL if numbers else 7.5, rotation=90 if turned else 0)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    if numbers:
        for row, column in np.ndindex(*cells.shape):
            dark = (cells[row, column] - min(low, 0.99)) / (1 - min(low, 0.99)) > 0.55
            axes.text(
                column, row, f"{100 * cells[row, column]:.1f}", ha="center", va="center", fontsize=SMALL,
                color="white" if dark else INK,
            )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=14, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=SMALL, labelcolor=QUIET)
    bar.ax.locator_params(nbins=4)
    percent_axis(bar.ax.yaxis)
    part = f"the {len(shown)} of {len(known)} on which variants differ most" if len(shown) < len(known) else ""
    title(axes, "Accuracy of each class" + (" (%)" if numbers else ""), part)
    return figure


def class_table(context: ComparisonContext) -> Table:
    """One row per class, one column per variant; fractions."""
    variants, means = class_means(context)
    images = [0] * len(context.classes)
    if context.labels is not None:
        images = np.bincount(context.labels, minlength=len(context.classes)).tolist()
    rows: list[list[Cell]] = []
    for place, (name, count) in enumerate(zip(context.classes, images, strict=False)) if variants else ():
        rows.append([name, count, *((float(mean) if count else None) for mean in means[:, place])])
    return Table("class_accuracy", "Accuracy of each class", ("class", "images", *variants), rows)
