"""Training curves of all variants: the mean over seeds, with a band from the lowest to the highest seed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator import records as keys
from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.style import (
    BLUE,
    GREEN,
    HAIRLINE,
    INK,
    NORMAL,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    SMALL,
    VERMILION,
    beside,
    message,
    new_figure,
    percent,
    percent_axis,
    quiet_axes,
    spread,
    title,
    whole_numbers,
)
from orchestrator.selection import chosen_trials

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # of as many variants as one pair of axes can hold
ACROSS = 3  # panels side by side, where there are more variants


@dataclass(frozen=True)
class SeedCurve:
    """One variant: epochs (E,), and the metric of each seed, (n, E); only epochs that all of its seeds have."""

    variant: str
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """(E,) over the seeds."""
        return np.asarray(self.values.mean(axis=0))


def seed_curves(context: ComparisonContext, metric: str) -> list[SeedCurve]:
    """The compared trials by variant, best first; of a variant without any, those that are not complete."""
    found = []
    chosen = chosen_trials(context.trials)
    for variant in [score.variant for score in context.verdict.variants]:
        trials = context.compared.get(variant) or [t for t in chosen.get(variant, []) if t.test_accuracy is None]
        seeds = []
        for trial in trials:
            epochs = context.curves.get(trial.trial, {})
            seeds.append({epoch: measured[metric] for epoch, measured in epochs.items() if metric in measured})
        seeds = [seed for seed in seeds if seed]
        shared = sorted(set.intersection(*(set(seed) for seed in seeds))) if seeds else []
        if shared:
            values = np.array([[seed[epoch] for epoch in shared] for seed in seeds])
            found.append(SeedCurve(variant, np.array(shared), values))
    return found


def draw_accuracy_curves(context: ComparisonContext) -> Figure:
    """Accuracy of the split that is evaluated after every epoch, with the published curve where there is one."""
    split = "Test" if context.evaluated == "test" else "Validation"
    return _draw(context, f"{context.evaluated}/accuracy", f"{split} accuracy", percent)


def draw_loss_curves(context: ComparisonContext) -> Figure:
    """Training loss."""
    return _draw(context, keys.TRAIN_LOSS, "Training loss", lambda value: f"{value:#.3g}")


def _draw(context: ComparisonContext, metric: str, heading: str, show: Callable[[float], str]) -> Figure:
    curves = seed_curves(context, metric)
    if not curves:
        return message(f"No epoch has a value of {metric}.")
    published = sorted(context.published) if metric.endswith("accuracy") else []
    names = figure_names([curve.variant for curve in curves], 24, context.variants)
    if len(curves) > len(COLOURS):
        return _draw_panels(curves, names, heading, published, show)
    figure = new_figure(9.4, 4.3)
    axes: Any = figure.add_subplot()
    _prepare(axes, curves, show)
    ends = []
    for curve, colour in zip(curves, COLOURS, strict=False):
        _draw_one(axes, curve, colour)
        ends.append((f"{names[curve.variant]} {show(curve.mean[-1])}", float(curve.mean[-1]), colour))
    if published:
        axes.plot(*zip(*published, strict=True), "--", color=INK, linewidth=1.4)
        ends.append((_published_text(published, curves, show), published[-1][1], INK))
    low, high = axes.get_ylim()
    for (text, _, colour), height in zip(ends, spread([e[1] for e in ends], (high - low) * 0.055), strict=True):
        beside(axes, height, "┄" if colour == INK else "■", 8, fontsize=NORMAL, color=colour)
        beside(axes, height, text, 22, fontsize=NORMAL, color=INK)  # some of the colours are too light for text
    axes.set_ylim(low, high)
    axes.set_xlabel("epoch", fontsize=NORMAL, color=INK)
    title(axes, heading, seeds_note(curves))
    return figure


def _draw_panels(
    curves: list[SeedCurve], names: dict[str, str], heading: str, published: Any, show: Callable[[float], str]
) -> Figure:
    """One small panel per variant, the others in grey behind it."""
    down = -(-len(curves) // ACROSS)
    figure = new_figure(9.4, 0.7 + 1.75 * down)
    grid = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
    every = np.hstack([[[*curve.epochs, np.nan], [*curve.mean, np.nan]] for curve in curves])  # one line with gaps
    for axes, curve in zip(grid.flat, curves, strict=False):
        _prepare(axes, curves, show)
        axes.plot(*every, color=HAIRLINE, linewidth=1, zorder=1)
        if published:
            axes.plot(*zip(*published, strict=True), "--", color=INK, linewidth=1)
        _draw_one(axes, curve, BLUE)
        axes.set_title(
            f"{names[curve.variant]} {show(curve.mean[-1])}", loc="left", fontsize=SMALL, color=INK, fontweight="bold"
        )
    for axes in list(grid.flat)[len(curves) :]:
        axes.set_visible(False)
    for column in range(ACROSS):
        shown = [axes for axes in grid[:, column] if axes.get_visible()]
        if shown:
            shown[-1].tick_params(labelbottom=True)
            shown[-1].set_xlabel("epoch", fontsize=SMALL, color=QUIET)
    note = f"{seeds_note(curves)}; grey: the other variants" + ("; dashed: published test" if published else "")
    figure.suptitle(heading, x=0.015, ha="left", fontsize=12, fontweight="bold", color=INK)
    figure.text(0.985, 0.985, note, ha="right", va="top", fontsize=SMALL, color=QUIET)
    return figure


def _prepare(axes: Any, curves: list[SeedCurve], show: Callable[[float], str]) -> None:
    quiet_axes(axes)
    whole_numbers(axes.xaxis)
    if show is percent:
        percent_axis(axes.yaxis)
    last = max(int(curve.epochs[-1]) for curve in curves)
    first = min(int(curve.epochs[0]) for curve in curves)
    axes.set_xlim((first - 0.5, last + 0.5) if last - first < 2 else (first, last))


def _draw_one(axes: Any, curve: SeedCurve, colour: str) -> None:
    low, high = curve.values.min(axis=0), curve.values.max(axis=0)
    if len(curve.values) > 1:
        axes.fill_between(curve.epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(curve.epochs, curve.mean, color=colour, linewidth=2, marker="o" if len(curve.epochs) < 3 else "")


def _published_text(published: list[tuple[int, float]], curves: list[SeedCurve], show: Callable[[float], str]) -> str:
    """The published curve's last value, and its epoch if the axes end elsewhere."""
    last = max(int(curve.epochs[-1]) for curve in curves)
    where = "" if published[-1][0] == last else f", epoch {published[-1][0]}"
    return f"published test {show(published[-1][1])}{where}"


def seeds_note(curves: list[SeedCurve]) -> str:
    """How many seeds a mean is taken over, and what the band is."""
    counts = sorted({len(curve.values) for curve in curves})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    return f"mean over seeds, {n}; band: lowest to highest" if counts[-1] > 1 else "one seed each"
