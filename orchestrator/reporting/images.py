"""Figures made of images: the network's errors, and the effect of augmentation."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from orchestrator.reporting.context import ReportContext, as_image
from orchestrator.reporting.names import class_name
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
    percent,
    sheet,
)

COLUMNS, ROWS = 6, 4  # of the grid of errors
SAMPLES, EPOCHS = 8, 4  # images and epochs of augmentation
IMAGE, HEADER = 1.3, 0.36  # inches


def draw_misclassified(context: ReportContext) -> Figure:
    """The most confident errors: true class, predicted class and confidence."""
    wrong = np.flatnonzero(~context.correct)
    if not len(wrong):
        return message(f"All {len(context.labels):,} test images are classified correctly.")
    worst = wrong[np.argsort(-context.confidences[wrong], kind="stable")][: COLUMNS * ROWS]
    columns, rows = min(COLUMNS, max(4, len(worst))), -(-len(worst) // COLUMNS)
    across, down = IMAGE + 0.15, IMAGE + 0.56
    figure, axes = sheet(2 * MARGIN + columns * across - 0.15, 2 * MARGIN + HEADER + rows * down - 0.1)
    axes.text(MARGIN, MARGIN, "Most confident errors", fontsize=LARGE, fontweight="bold", color=INK, va="top")
    count = f"{len(wrong):,} of {len(context.labels):,} test images are wrong"
    axes.text(figure.get_figwidth() - MARGIN, MARGIN, count, fontsize=NORMAL, color=QUIET, va="top", ha="right")
    for number, index in enumerate(worst):
        left, top = MARGIN + number % COLUMNS * across, MARGIN + HEADER + number // COLUMNS * down
        image_at(figure, context.test_image(int(index)), left, top, IMAGE)
        write_prediction(axes, context, int(index), left, top + IMAGE + 0.05)
    return figure


def write_prediction(axes: Any, context: ReportContext, index: int, left: float, top: float) -> None:
    """Under a test image: predicted class and confidence, and the true class if it differs."""
    is_correct = bool(context.correct[index])
    predicted, label = (int(values[index]) for values in (context.predicted, context.labels))
    name = class_name(context.classes[predicted], predicted, 10)
    said = f"{name} · {percent(context.confidences[index], 0)}"
    colour = GREEN if is_correct else VERMILION
    axes.text(left, top, said, fontsize=SMALL, color=colour, va="top", fontweight="bold")
    if not is_correct:
        true = class_name(context.classes[label], label, 14)
        axes.text(left, top + 0.18, f"true: {true}", fontsize=SMALL, color=INK, va="top")


def draw_augmentation(context: ReportContext) -> Figure:
    """The same training images in rows: without augmentation, then as augmented in epochs 1 to 4."""
    if context.augmentation is None:
        raise ValueError("the trial has no augmentation")
    labels = context.dataset.train.labels[context.training_indices]
    firsts = [int((labels == c).nonzero()[0]) for c in labels.unique()[:SAMPLES].tolist()]
    places = (firsts + [i for i in range(len(labels)) if i not in firsts][: SAMPLES - len(firsts)])[:SAMPLES]
    indices = context.training_indices[torch.tensor(places)]
    originals = context.dataset.train.images[indices]
    rows = [("original", originals)]
    rows += [(f"epoch {epoch}", context.augmentation(originals, indices, epoch)) for epoch in range(1, EPOCHS + 1)]
    side, gap, names = 0.92, 0.06, 0.75
    width = 2 * MARGIN + names + len(indices) * (side + gap) - gap
    figure, axes = sheet(width, 2 * MARGIN + HEADER + len(rows) * (side + gap) + gap)
    heading = "Training images before and after augmentation"
    axes.text(MARGIN, MARGIN, heading, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    for row, (name, images) in enumerate(rows):
        top = MARGIN + HEADER + row * (side + gap) + (gap if row else 0)
        axes.text(MARGIN, top + side / 2, name, fontsize=NORMAL, color=QUIET if row else INK, va="center")
        for column, image in enumerate(images):
            image_at(figure, as_image(image), MARGIN + names + column * (side + gap), top, side)
    return figure
