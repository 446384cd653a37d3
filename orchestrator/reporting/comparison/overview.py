"""The launch in one figure: every seed, the interval of each mean, and how far apart the variants are."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.decisions import Seen, against
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.style import (
    BLUE,
    GREEN,
    HAIRLINE,
    INK,
    NORMAL,
    QUIET,
    SMALL,
    VERMILION,
    beside,
    message,
    new_figure,
    quiet_axes,
    title,
)
from orchestrator.verdict.result import Decision, VariantScore

NOTHING = "No trial is complete, so there is nothing to compare."
BELOW = 0.24  # of a line: seeds lie below the interval, so that neither hides the other
LEAST_SPAN = 0.5  # points: differences below are not drawn larger
MARKS = {  # of a decision: colour and marker, so that it is seen without colours
    Decision.BETTER: (BLUE, "o"),
    Decision.SLIGHTLY_BETTER: (BLUE, "D"),
    Decision.EQUIVALENT: (GREEN, "s"),
    Decision.UNDECIDED: (VERMILION, "o"),
}


def draw_overview(context: ComparisonContext) -> Figure:
    """One line per variant, best on top: its seeds, mean and interval; on the right its difference to the reference."""
    scores = context.measured
    if not scores or context.reference is None:
        return message(NOTHING)
    known = {v: s for v, s in against(context.verdict, context.reference).items() if s.low is not None}
    figure = new_figure(9.8 if known else 7.5, 1.7 + 0.42 * len(scores))
    axes: Any = figure.subplots(1, 2 if known else 1, squeeze=False, sharey=True)[0]
    _draw_seeds(axes[0], context, scores)
    if known:
        _draw_differences(axes[1], context, scores, known)
    return figure


def _draw_seeds(axes: Any, context: ComparisonContext, scores: Sequence[VariantScore]) -> None:
    every = [100 * accuracy for score in scores for accuracy in context.seeds(score.variant)]
    every += [100 * score.mean for score in scores if score.mean is not None]
    span = max(max(every) - min(every), LEAST_SPAN)
    edges = (max(min(every) - span, 0.0), min(max(every) + span, 100.0))
    for height, score in enumerate(scores):
        colour = BLUE if score.variant in context.leading else QUIET
        seeds = [100 * accuracy for accuracy in context.seeds(score.variant)]
        if score.low is not None and score.high is not None:
            _bar(axes, height, (100 * score.low, 100 * score.high), edges, colour)
        axes.plot(seeds, [height + BELOW] * len(seeds), "o", color=colour, alpha=0.55, markersize=5, markeredgewidth=0)
        axes.plot([100 * (score.mean or 0)], [height], "|", color=INK, markersize=17, markeredgewidth=2)
    names = figure_names([score.variant for score in scores], 24, context.variants)
    ticks = []
    for score in scores:
        marked = " (baseline)" if score.variant == context.verdict.baseline else ""
        ticks.append(f"{names[score.variant]}{marked}  n = {score.n}")
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_yticks(range(len(scores)), ticks)
    quiet_axes(axes, grid="x")
    axes.tick_params(axis="y", labelsize=NORMAL)
    for tick, score in zip(axes.get_yticklabels(), scores, strict=True):
        tick.set_fontweight("bold" if score.variant in context.leading else "normal")
    axes.margins(x=0.03)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    kind = "t interval" if context.verdict.rounds is None else "interval at every look"
    interval = f", {100 * context.verdict.confidence:g} % {kind}" if any(s.low is not None for s in scores) else ""
    bold = "leading" if context.verdict.baseline is None else "above baseline"
    lines = ["test accuracy (%)", f"bar: mean{interval}; dots: seeds", *([f"bold: {bold}"] if context.leading else [])]
    axes.set_xlabel("\n".join(lines), fontsize=SMALL, color=QUIET)
    title(axes, "Each seed, and the mean")


def _draw_differences(
    axes: Any, context: ComparisonContext, scores: Sequence[VariantScore], known: dict[str, Seen]
) -> None:
    farthest = max(abs(100 * s.difference) for s in known.values())
    usual = statistics.median(100 * max(abs(s.low or 0), abs(s.high or 0)) for s in known.values())
    span = max(2.5 * farthest, min(1.2 * usual, 10 * farthest), LEAST_SPAN)
    if (margin := context.verdict.margin) is not None:
        span = max(span, 150 * margin)
        axes.axvspan(-100 * margin, 100 * margin, color=HAIRLINE, alpha=0.5, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    for height, score in enumerate(scores):
        s = known.get(score.variant)
        if s is None:
            role = "baseline" if score.variant == context.verdict.baseline else "best"
            text = role if score.variant == context.reference else "no interval"
        else:
            colour, marker = MARKS[s.pair.decision]
            _bar(axes, height, (100 * (s.low or 0), 100 * (s.high or 0)), (-span, span), colour)
            filled = colour if s.pair.decision != Decision.UNDECIDED else "white"
            axes.plot([100 * s.difference], [height], marker, color=colour, markersize=7, markerfacecolor=filled)
            text = f"{s.symbol} {s.word} {s.points}"
        beside(axes, height, text, 8, fontsize=SMALL, color=INK if s else QUIET)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(axis="y", left=False, labelleft=False)
    quiet_axes(axes, grid="x")
    shaded = "" if context.verdict.margin is None else "\nshaded: less than the margin"
    confidence = f"{100 * context.verdict.confidence:g}"
    axes.set_xlabel(
        f"percentage points of test accuracy\nbar: {confidence} % interval for all pairs at once{shaded}",
        fontsize=SMALL, color=QUIET,
    )  # fmt: skip
    title(axes, f"Minus the {'baseline' if context.verdict.baseline else 'best'}")


def _bar(axes: Any, height: int, ends: tuple[float, float], edges: tuple[float, float], colour: str) -> None:
    """An interval, with an arrow where it goes on beyond the edges of the axes; accuracies end at 0 and 100 %."""
    low, high = max(ends[0], edges[0]), min(ends[1], edges[1])
    axes.plot([low, high], [height] * 2, color=colour, linewidth=2, solid_capstyle="butt")
    for end, edge, marker in ((ends[0], edges[0], "<"), (ends[1], edges[1], ">")):
        beyond = end < edge if marker == "<" else end > edge
        if beyond and not math.isclose(edge, 0.0 if marker == "<" else 100.0):
            axes.plot([edge], [height], marker, color=colour, markersize=6, markeredgewidth=0)
