"""The comparison as a figure: every trial's accuracy, and how far each variant is behind the best."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.differences import LEVEL, NO_SPREAD, ONE_SEED, Difference
from orchestrator.reporting.comparison.variants import Comparison, VariantRow
from orchestrator.reporting.style import (
    BLUE,
    INK,
    NORMAL,
    QUIET,
    SMALL,
    VERMILION,
    literal,
    message,
    new_figure,
    quiet_axes,
    title,
)
from orchestrator.selection import chosen_trials

LONGEST = 28  # characters of a variant's name
UNKNOWN = {ONE_SEED: "one seed: no interval", NO_SPREAD: "no spread: no interval"}
FINITE = 0.3  # of accuracy: an interval is drawn no further than this beyond the largest difference


def draw_comparison(comparison: Comparison, trials: Sequence[TrialRow]) -> Figure:
    """One line per variant, best on top; on the right the simultaneous intervals, if there are any."""
    rows = [row for row in comparison.rows if row.test_accuracy is not None]
    if not rows:
        return message("No trial is complete, so there is nothing to compare.")
    behind = {} if comparison.evidence == "none" else {d.variant: d for d in comparison.differences}
    figure = new_figure(10.5 if behind else 7.0, 1.5 + 0.42 * len(rows))
    axes: Any = figure.subplots(1, 2 if behind else 1, squeeze=False, sharey=True)[0]
    _draw_trials(axes[0], rows, chosen_trials(trials))
    if behind:
        _draw_behind(axes[1], rows, behind)
    return figure


def _draw_trials(axes: Any, rows: Sequence[VariantRow], trials: dict[str, list[TrialRow]]) -> None:
    for height, row in enumerate(rows):
        seen = [100 * t.test_accuracy for t in trials[row.variant] if t.test_accuracy is not None]
        axes.plot(seen, [height] * len(seen), "o", color=BLUE, alpha=0.55, markersize=6, markeredgewidth=0)
        axes.plot([100 * (row.test_accuracy or 0)], [height], "|", color=INK, markersize=17, markeredgewidth=2)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"{literal(row.variant, LONGEST)}  n = {row.trials}" for row in rows])
    quiet_axes(axes, grid="x")
    axes.tick_params(axis="y", labelsize=NORMAL)
    axes.set_xlabel("test accuracy (%)", fontsize=NORMAL, color=QUIET)
    title(axes, "Each trial, and the mean")


def _draw_behind(axes: Any, rows: Sequence[VariantRow], behind: dict[str, Difference]) -> None:
    known = [d for d in behind.values() if d.low is not None]
    farthest = max(d.difference for d in known) + FINITE
    for height, row in enumerate(rows):
        d = behind.get(row.variant)
        if d is None or d.low is None or d.high is None:
            text = UNKNOWN[d.unknown] if d and d.unknown else "best"
            axes.annotate(
                text, (0, height), (6, 0), textcoords="offset points", va="center", fontsize=SMALL, color=QUIET
            )
            continue
        colour = BLUE if d.told_apart else VERMILION
        low, high = max(d.low, -farthest), min(d.high, farthest)
        axes.plot([100 * low, 100 * high], [height] * 2, color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([100 * d.difference], [height], "o", color=colour, markersize=7)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.tick_params(axis="y", left=False, labelleft=False)
    quiet_axes(axes, grid="x")
    axes.set_xlabel(f"percentage points behind the best, {100 * LEVEL:g} % intervals", fontsize=NORMAL, color=QUIET)
    close = any(not d.told_apart for d in known)
    title(axes, "Behind the best", "orange: not significant" if close else "", VERMILION)
