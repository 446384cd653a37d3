"""Figures made of images: the network's errors, and the effect of augmentation."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from orchestrator.reporting.material import Material, as_picture
from orchestrator.reporting.style import (
    GREEN,
    INK,
    LARGE,
    MARGIN,
    NORMAL,
    QUIET,
    SMALL,
    VERMILION,
    literal,
    message,
    percent,
    picture_at,
    sheet,
)

COLUMNS, ROWS = 6, 4  # of the grid of errors
SAMPLES, EPOCHS = 8, 4  # images and epochs of augmentation
PICTURE, HEADER = 1.3, 0.36  # inches


def draw_misclassified(material: Material) -> Figure:
    """The most confident errors: true class, predicted class and confidence."""
    wrong = np.flatnonzero(~material.correct)
    if not len(wrong):
        return message(f"All {len(material.labels):,} test images are classified correctly.")
    worst = wrong[np.argsort(-material.confidences[wrong], kind="stable")][: COLUMNS * ROWS]
    columns, rows = min(COLUMNS, max(4, len(worst))), -(-len(worst) // COLUMNS)
    across, down = PICTURE + 0.15, PICTURE + 0.56
    figure, axes = sheet(2 * MARGIN + columns * across - 0.15, 2 * MARGIN + HEADER + rows * down - 0.1)
    axes.text(MARGIN, MARGIN, "Most confident errors", fontsize=LARGE, fontweight="bold", color=INK, va="top")
    count = f"{len(wrong):,} of {len(material.labels):,} test images are wrong"
    axes.text(figure.get_figwidth() - MARGIN, MARGIN, count, fontsize=NORMAL, color=QUIET, va="top", ha="right")
    for number, index in enumerate(worst):
        left, top = MARGIN + number % COLUMNS * across, MARGIN + HEADER + number // COLUMNS * down
        picture_at(figure, material.test_picture(int(index)), left, top, PICTURE)
        write_prediction(axes, material, int(index), left, top + PICTURE + 0.05)
    return figure


def write_prediction(axes: Any, material: Material, index: int, left: float, top: float) -> None:
    """Under a test image: predicted class and confidence, and the true class if it differs."""
    right = bool(material.correct[index])
    said = f"{literal(material.classes[material.predicted[index]], 10)} · {percent(material.confidences[index], 0)}"
    colour = GREEN if right else VERMILION
    axes.text(left, top, said, fontsize=SMALL, color=colour, va="top", fontweight="bold")
    if not right:
        true = literal(material.classes[material.labels[index]], 14)
        axes.text(left, top + 0.18, f"true: {true}", fontsize=SMALL, color=INK, va="top")


def draw_augmentation(material: Material) -> Figure:
    """The same training images in rows: without augmentation, then as augmented in epochs 1 to 4."""
    if material.augmentation is None:
        raise ValueError("the trial has no augmentation")
    labels = material.dataset.train.labels[material.training_indices]
    firsts = [int((labels == c).nonzero()[0]) for c in labels.unique()[:SAMPLES].tolist()]
    places = (firsts + [i for i in range(len(labels)) if i not in firsts][: SAMPLES - len(firsts)])[:SAMPLES]
    indices = material.training_indices[torch.tensor(places)]
    originals = material.dataset.train.images[indices]
    rows = [("original", originals)]
    rows += [(f"epoch {epoch}", material.augmentation(originals, indices, epoch)) for epoch in range(1, EPOCHS + 1)]
    side, gap, names = 0.92, 0.06, 0.75
    width = 2 * MARGIN + names + len(indices) * (side + gap) - gap
    figure, axes = sheet(width, 2 * MARGIN + HEADER + len(rows) * (side + gap) + gap)
    heading = "Training images before and after augmentation"
    axes.text(MARGIN, MARGIN, heading, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    for row, (name, images) in enumerate(rows):
        top = MARGIN + HEADER + row * (side + gap) + (gap if row else 0)
        axes.text(MARGIN, top + side / 2, name, fontsize=NORMAL, color=QUIET if row else INK, va="center")
        for column, image in enumerate(images):
            picture_at(figure, as_picture(image), MARGIN + names + column * (side + gap), top, side)
    return figure
