"""The images on which two variants disagree most, with their class and what was said instead."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.disagreement import class_name, disagreement, majority
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.context import as_image
from orchestrator.reporting.style import (
    GREEN,
    INK,
    LARGE,
    MARGIN,
    NORMAL,
    QUIET,
    SMALL,
    VERMILION,
    image_at,
    literal,
    message,
    sheet,
)

MOST = 16  # images each way
COLUMNS = 8
IMAGE, GAP, TEXT, HEADER = 0.94, 0.14, 0.4, 0.62  # inches


def draw_disagreement(context: ComparisonContext, right: str, wrong: str) -> Figure:
    """Up to 16 images that all seeds of ``right`` have right and all seeds of ``wrong`` have wrong."""
    found = disagreement(context, right, wrong)
    names = figure_names([right, wrong])
    heading = f"{_seeds(context, right)} of {names[right]} right, {_seeds(context, wrong)} of {names[wrong]} wrong"
    if not len(found.images) or context.labels is None or context.images is None:
        return message(f"No image: {heading}.", width=9.0)
    shown = found.images[:MOST].tolist()
    rows = -(-len(shown) // COLUMNS)
    across, down = IMAGE + GAP, IMAGE + TEXT + 0.1
    figure, axes = sheet(2 * MARGIN + COLUMNS * across - GAP, 2 * MARGIN + HEADER + rows * down - 0.06)
    axes.text(MARGIN, MARGIN, heading, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    total = f"{len(found.images):,} of {len(context.labels):,} test images"
    note = total if len(shown) == len(found.images) else f"{total}, {len(shown)} shown"
    axes.text(
        MARGIN,
        MARGIN + 0.27,
        f"{note}; top: the class, below: what was said instead",
        fontsize=NORMAL,
        color=QUIET,
        va="top",
    )
    for number, image in enumerate(shown):
        left, top = MARGIN + number % COLUMNS * across, MARGIN + HEADER + number // COLUMNS * down
        image_at(figure, _pixels(context, image), left, top, IMAGE)
        _write(axes, context, wrong, image, left, top + IMAGE + 0.04)
    return figure


def _write(axes: Any, context: ComparisonContext, wrong: str, image: int, left: float, top: float) -> None:
    true = int(context.labels[image]) if context.labels is not None else 0
    said = majority(context, wrong, image)
    for number, (index, colour) in enumerate(((true, GREEN), (said, VERMILION))):
        text = literal(class_name(context, index), 12)
        axes.text(left, top + 0.17 * number, text, fontsize=SMALL, color=colour, va="top", fontweight="bold")


def _seeds(context: ComparisonContext, variant: str) -> str:
    count = len(context.right[variant])
    return "the one seed" if count == 1 else f"all {count} seeds"


def _pixels(context: ComparisonContext, image: int) -> NDArray[np.uint8]:
    """(H, W, 3); an image with one channel is grey."""
    if context.images is None:
        raise ValueError("the images are not known")
    tensor = context.images[image]
    return as_image(tensor.expand(3, -1, -1) if len(tensor) == 1 else tensor[:3])
