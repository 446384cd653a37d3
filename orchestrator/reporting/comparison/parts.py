"""The figures of a launch's page. To add one, write a function from a context to a figure, and an entry here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from orchestrator.reporting.comparison import class_accuracy, curves, disagreement, matrix, overview
from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.decisions import against
from orchestrator.reporting.comparison.disagreement_figure import draw_disagreement
from orchestrator.reporting.comparison.front import cost_name, draw_front, known_costs, short_cost_name
from orchestrator.reporting.figures import to_png
from orchestrator.reporting.html import FigureImage

MANY = 6  # variants that an alternative text names
NOT_COMPLETE = "no trial is complete"


@dataclass(frozen=True)
class FigureEntry:
    """A figure of the page; ``absent`` says why there is none, or is empty."""

    name: str
    title: str
    caption: str
    alternative: str
    draw: Callable[[], Figure]
    absent: str = ""

    def make(self) -> FigureImage:
        """The figure as PNG."""
        return FigureImage(self.name, self.title, self.caption, to_png(self.draw()), self.alternative)


def interval_figure(context: ComparisonContext) -> FigureEntry:
    """The intervals, which are the overview of the launch."""
    verdict, margin = context.verdict, context.verdict.margin
    kind = "Student t interval" if verdict.rounds is None else "interval that holds at every look"
    caption = f"A dot per seed, the mean, and its {100 * verdict.confidence:g} % {kind}; an arrow: it goes on."
    if verdict.baseline is not None:
        caption += " Bold: better than the baseline."
    elif len(context.measured) > 1:
        caption += " Bold: the best variant, and all that are not told apart from it."
    if any(pair.low is not None for pair in verdict.pairs):
        other = "best" if verdict.baseline is None else "baseline"
        shaded = "" if margin is None else f" Shaded: less than the margin of {100 * margin:.2f} points."
        caption += (
            f" Right: the difference to the {other}, with intervals for all pairs at once; hollow points are undecided."
            f"{shaded}"
        )
    absent = "" if context.measured else NOT_COMPLETE
    draw = partial(overview.draw_overview, context)
    return FigureEntry("intervals", "Intervals", caption, _overview_text(context), draw, absent)


def matrix_figure(context: ComparisonContext) -> FigureEntry:
    """Every pair."""
    pairs = "; ".join(f"{p.a} against {p.b}: {p.decision}" for p in context.verdict.pairs[:MANY])
    more = f"; and {len(context.verdict.pairs) - MANY} more" if len(context.verdict.pairs) > MANY else ""
    if context.verdict.baseline is None:
        sides = "The variant at the left of a row against the one under a column"
        one, other = "the row’s variant", "the column’s"
    else:
        sides, one, other = "Each variant against the baseline", "the variant", "the baseline"
    caption = (
        f"{sides}: the decision, the difference in points of test accuracy, and P(A > B), the probability that one run "
        f"of {one} beats one of {other}, estimated from these seeds."
    )
    draw = partial(matrix.draw_matrix, context)
    absent = "" if matrix.pair_matrix(context).cells else "no two variants are compared"
    return FigureEntry("pairs", "Every pair", caption, f"{pairs}{more}. A table below has them all.", draw, absent)


def front_figures(context: ComparisonContext) -> list[FigureEntry]:
    """Accuracy against each cost."""
    found = []
    absent = "" if len(context.measured) > 1 else "no two variants have a test accuracy"
    for cost in known_costs(context):
        front = context.verdict.front.get(cost, ())
        caption = (
            "Mean test accuracy, with a bar from the lowest to the highest seed. The joined variants are the Pareto "
            "front: no other is both as cheap and as accurate. It compares means, and is no test."
        )
        names = f" Pareto front, cheapest first: {', '.join(front)}." if front else ""
        found.append(
            FigureEntry(
                f"front_{_file_name(cost)}", f"Accuracy and {short_cost_name(cost)}", caption,
                f"Scatter plot of mean test accuracy against {cost_name(cost)}.{names}",
                partial(draw_front, context, cost), absent,
            )
        )  # fmt: skip
    return found


def curve_figures(context: ComparisonContext) -> list[FigureEntry]:
    """Accuracy and loss by epoch."""
    split = "test" if context.evaluated == "test" else "validation"
    published = " The dashed line is the published test accuracy." if context.published else ""
    found = []
    for name, heading, draw, metric, further in (
        ("accuracy_curves", f"{split.capitalize()} accuracy by epoch", curves.draw_accuracy_curves,
         f"{context.evaluated}/accuracy", published),
        ("loss_curves", "Training loss by epoch", curves.draw_loss_curves, "train/loss", ""),
    ):  # fmt: skip
        known = curves.seed_curves(context, metric)
        last = ", ".join(f"{c.variant} {c.mean[-1]:.4f} at epoch {c.epochs[-1]}" for c in known[:MANY])
        over = f"At epochs that all seeds of a variant have: {curves.seeds_note(known)}." if known else ""
        found.append(
            FigureEntry(
                name, heading, f"{over}{further}", f"Curves of {heading.lower()}. Means at the end: {last}.",
                partial(draw, context), "" if known else "no epoch is known",
            )
        )  # fmt: skip
    return found


def class_figure(context: ComparisonContext) -> FigureEntry:
    """Accuracy of each class."""
    variants, _ = class_accuracy.class_means(context)
    caption = "Test accuracy of each class, the mean over seeds; of the variants with predictions of all seeds."
    return FigureEntry(
        "class_accuracy", "Accuracy of each class", caption,
        f"Heat map of {len(context.classes)} classes by {len(variants)} variants; its numbers are in the table below.",
        partial(class_accuracy.draw_class_accuracy, context),
        "" if variants else "the predictions of the test images are not known",
    )  # fmt: skip


def disagreement_figures(context: ComparisonContext) -> list[FigureEntry]:
    """Two figures, one each way; none without images, whose numbers a table lists."""
    pair = disagreement.shown_pair(context)
    if pair is None:
        why = "fewer than two variants have predictions of all of their seeds"
        return [FigureEntry("disagreement_1", "Images on which variants disagree", "", "", Figure, why)]
    if context.images is None:
        return []
    found = []
    for place, (right, wrong) in enumerate((pair, pair[::-1]), 1):
        known = disagreement.disagreement(context, right, wrong)
        seeds = min(len(context.right[right]), len(context.right[wrong]))
        alone = " With one seed each, this is one network against another." if seeds == 1 else ""
        text = f"Test images that {right} classifies correctly and {wrong} does not"
        caption = (
            f"{text}, by more than half of the seeds; the fractions say how many seeds of each are right. First those "
            f"on which they differ most, and of those what most networks of the launch classify correctly.{alone}"
        )
        count = f"{text}: {len(known.images):,}, of which {known.unanimous:,} with all seeds."
        draw = partial(draw_disagreement, context, right, wrong)
        absent = "" if len(known.images) else "there is no such image"
        name, heading = f"disagreement_{place}", f"{right} right, {wrong} wrong"
        found.append(FigureEntry(name, heading, caption, count, draw, absent))
    return found


def _overview_text(context: ComparisonContext) -> str:
    """The intervals in words."""
    stand = against(context.verdict, context.reference) if context.reference else {}
    parts = []
    for score in context.measured[:MANY]:
        text = f"{score.variant}: mean {100 * (score.mean or 0):.2f} % over n = {score.n}"
        parts.append(text + (f", {s.words}" if (s := stand.get(score.variant)) else ""))
    more = f"; and {len(context.measured) - MANY} more" if len(context.measured) > MANY else ""
    return f"Test accuracy by variant, best first. {'; '.join(parts)}{more}."


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)
