"""Test images on which two variants disagree, whichever of their seeds is looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.tables import Cell, Table

Images = NDArray[np.int64]  # indices in the test split
APART = 0.5  # by more than this fraction of the seeds, two variants disagree on an image


@dataclass(frozen=True)
class Disagreement:
    """The images that seeds of ``right`` classify correctly and seeds of ``wrong`` do not, most apart first.

    Of equally many seeds, first what most networks of the launch classify correctly, so that ``wrong`` stands alone.
    """

    right: str
    wrong: str
    images: Images
    unanimous: int  # the first so many: all seeds of ``right`` are right, all of ``wrong`` wrong


def disagreement(context: ComparisonContext, right: str, wrong: str) -> Disagreement:
    """Of two variants with predictions."""
    apart = context.right[right].mean(axis=0) - context.right[wrong].mean(axis=0)  # (N,)
    others = np.concatenate(list(context.right.values())).mean(axis=0)  # (N,)
    found = np.flatnonzero(apart > APART)
    ordered = found[np.lexsort((found, -others[found], -apart[found]))]
    return Disagreement(right, wrong, ordered, int((apart[found] == 1).sum()))


def shown_pair(context: ComparisonContext) -> tuple[str, str] | None:
    """The two variants whose images are shown: the reference and the best other one that has predictions."""
    known = list(context.right)
    first = context.reference if context.reference in known else next(iter(known), None)
    second = next((variant for variant in known if variant != first), None)
    return None if first is None or second is None else (first, second)


def wrong_majority(context: ComparisonContext, variant: str, image: int) -> int:
    """The wrong class that most seeds of ``variant`` say; of equally many the first."""
    true = None if context.labels is None else int(context.labels[image])
    said = [int(context.predicted[variant, trial.seed][image]) for trial in context.compared[variant]]
    wrong = [index for index in said if index != true]
    return max(sorted(set(wrong)), key=wrong.count)


def count_table(context: ComparisonContext) -> Table:
    """For every variant with predictions against the reference, how many images each side alone has right."""
    rows: list[list[Cell]] = []
    pair = shown_pair(context)
    first = pair[0] if pair else ""
    for variant in context.right if pair else ():
        if variant != first:
            one, other = disagreement(context, first, variant), disagreement(context, variant, first)
            rows.append([variant, one.unanimous, other.unanimous])
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
                instead = class_name(context, wrong_majority(context, wrong, image))
                rows.append(
                    [image, true, right, share(context, right, image), wrong, share(context, wrong, image), instead]
                )
    columns = ("image", "class", "right", "seeds right", "wrong", "its seeds right", "predicted instead")
    return Table("disagreement_images", "Images on which they disagree, by number in the test split", columns, rows)


def share(context: ComparisonContext, variant: str, image: int) -> str:
    """How many of the variant's seeds classify the image correctly: ``2/3``."""
    seeds = context.right[variant]
    return f"{int(seeds[:, image].sum())}/{len(seeds)}"


def class_name(context: ComparisonContext, index: int) -> str:
    """The name of a class, or its number where names are not known."""
    return context.classes[index] if index < len(context.classes) else str(index)
