"""Test images on which two variants disagree with all of their seeds: one is right, the other wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.tables import Cell, Table

Images = NDArray[np.int64]  # indices in the test split


@dataclass(frozen=True)
class Disagreement:
    """The images that all seeds of ``right`` classify correctly and all seeds of ``wrong`` do not.

    First those that most other networks of the launch classify correctly, so that ``wrong`` stands alone.
    """

    right: str
    wrong: str
    images: Images


def disagreement(context: ComparisonContext, right: str, wrong: str) -> Disagreement:
    """Of two variants with predictions."""
    found = np.flatnonzero(context.right[right].all(axis=0) & ~context.right[wrong].any(axis=0))
    others = np.concatenate(list(context.right.values())).mean(axis=0)  # (N,)
    return Disagreement(right, wrong, found[np.argsort(-others[found], kind="stable")])


def shown_pair(context: ComparisonContext) -> tuple[str, str] | None:
    """The two variants whose images are shown: the reference and the best other one that has predictions."""
    known = list(context.right)
    first = context.reference if context.reference in known else next(iter(known), None)
    second = next((variant for variant in known if variant != first), None)
    return None if first is None or second is None else (first, second)


def majority(context: ComparisonContext, variant: str, image: int) -> int:
    """The class that most seeds of ``variant`` say; of equally many the first."""
    said = [int(context.predicted[variant, trial.seed][image]) for trial in context.compared[variant]]
    return max(sorted(set(said)), key=said.count)


def count_table(context: ComparisonContext) -> Table:
    """For every variant with predictions against the reference, how many images each side alone has right."""
    rows: list[list[Cell]] = []
    pair = shown_pair(context)
    first = pair[0] if pair else ""
    for variant in context.right if pair else ():
        if variant != first:
            one, other = disagreement(context, first, variant), disagreement(context, variant, first)
            rows.append([variant, len(one.images), len(other.images)])
    columns = ("variant", f"only {first} right", "only the variant right")
    return Table("disagreement", "Images that all seeds of one have right, and all of the other wrong", columns, rows)


def image_table(context: ComparisonContext) -> Table:
    """Every image on which the shown pair disagrees: its number in the test split, its class, what was said instead."""
    rows: list[list[Cell]] = []
    pair = shown_pair(context)
    if pair is not None and context.labels is not None:
        for right, wrong in (pair, pair[::-1]):
            for image in disagreement(context, right, wrong).images.tolist():
                true = class_name(context, int(context.labels[image]))
                rows.append([image, true, right, wrong, class_name(context, majority(context, wrong, image))])
    columns = ("image", "class", "right", "wrong", "predicted instead")
    return Table("disagreement_images", "Numbers of these images in the test split", columns, rows)


def class_name(context: ComparisonContext, index: int) -> str:
    """The name of a class, or its number where names are not known."""
    return context.classes[index] if index < len(context.classes) else str(index)
