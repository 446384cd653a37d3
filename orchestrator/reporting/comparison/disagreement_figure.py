"""The images on which two variants disagree most, with their class and what was said instead."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.disagreement import class_name, disagreement, share, wrong_majority
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.context import as_image
from orchestrator.reporting.names import class_name as drawn
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
    message,
    sheet,
)

MOST = 16  # images each way
COLUMNS = 8
IMAGE, GAP, TEXT, HEADER = 0.94, 0.14, 0.56, 0.62  # inches


def draw_disagreement(context: ComparisonContext, right: str, wrong: str) -> Figure:
    """Up to 16 images that seeds of ``right`` have right and seeds of ``wrong`` have wrong."""
    found = disagreement(context, right, wrong)
    names = figure_names([right, wrong], every=context.variants)
    heading = f"{names[right]} right, {names[wrong]} wrong"
    if not len(found.images) or context.labels is None or context.images is None:
        return message(f"No image: {heading}.", width=9.0)
    shown = found.images[:MOST].tolist()
    rows = -(-len(shown) // COLUMNS)
    across, down = IMAGE + GAP, IMAGE + TEXT + 0.1
    figure, axes = sheet(2 * MARGIN + COLUMNS * across - GAP, 2 * MARGIN + HEADER + rows * down - 0.06)
    axes.text(MARGIN, MARGIN, heading, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    count = (
        f"{found.unanimous:,} of {len(context.labels):,} test images with all seeds, {len(found.images):,} with most"
    )
    note = f"{count}; below each: class, what was said instead, seeds right"
    axes.text(MARGIN, MARGIN + 0.27, note, fontsize=NORMAL, color=QUIET, va="top")
    for number, image in enumerate(shown):
        left, top = MARGIN + number % COLUMNS * across, MARGIN + HEADER + number // COLUMNS * down
        image_at(figure, _pixels(context, image), left, top, IMAGE)
        _write(axes, context, (right, wrong), image, (left, top + IMAGE + 0.04))
    return figure


def _write(
    axes: Any, context: ComparisonContext, sides: tuple[str, str], image: int, corner: tuple[float, float]
) -> None:
    """Under an image: its class, what most wrong seeds said instead, and how many seeds of each side are right."""
    true = int(context.labels[image]) if context.labels is not None else 0
    said = wrong_majority(context, sides[1], image)
    lines = [
        (drawn(class_name(context, true), true, 12), GREEN, "bold"),
        (drawn(class_name(context, said), said, 12), VERMILION, "bold"),
        (" : ".join(share(context, side, image) for side in sides), QUIET, "normal"),
    ]
    for number, (text, colour, weight) in enumerate(lines):
        axes.text(corner[0], corner[1] + 0.17 * number, text, fontsize=SMALL, color=colour, va="top", fontweight=weight)


def _pixels(context: ComparisonContext, image: int) -> NDArray[np.uint8]:
    """(H, W, 3)."""
    if context.images is None:
        raise ValueError("the images are not known")
    return as_image(context.images[image])
