"""Accuracy against what it costs: every variant as a point, and the Pareto front joined."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.labels import place_labels
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.style import BLUE, NORMAL, QUIET, SKY, message, new_figure, quiet_axes, title

NAMES = {  # of a cost: what the axis says
    "parameters": "parameters",
    "macs": "multiply-accumulates (MACs) per image",
    "seconds": "seconds of training, mean of a trial",
    "forward_seconds": "seconds per image, one image at a time",
    "forward_seconds_batched": "seconds per image, in batches",
}
SHORT_NAMES = {  # what a title says, where that is not the axis's name
    "macs": "MACs",
    "seconds": "training time",
    "forward_seconds": "inference time, one image at a time",
    "forward_seconds_batched": "inference time, in batches",
}
DECADE = 8.0  # largest by smallest cost above which the axis is logarithmic


def cost_name(cost: str) -> str:
    """A cost as an axis says it."""
    return NAMES.get(cost, cost.replace("_", " "))


def short_cost_name(cost: str) -> str:
    """A cost as a title says it."""
    return SHORT_NAMES.get(cost) or cost_name(cost)


def known_costs(context: ComparisonContext) -> dict[str, Mapping[str, float]]:
    """By cost, its value for each variant; where none were handed in, those of the rows."""
    if context.costs:
        return dict(context.costs)
    found = {
        cost: {row.variant: float(value) for row in context.rows if (value := getattr(row, cost)) is not None}
        for cost in ("parameters", "macs", "seconds")
    }
    return {cost: values for cost, values in found.items() if values}


def draw_front(context: ComparisonContext, cost: str) -> Figure:
    """Mean accuracy against ``cost``; bars from the lowest to the highest seed, the front's variants filled."""
    values = known_costs(context).get(cost, {})
    scores = [score for score in context.measured if score.variant in values]
    if not scores:
        return message(f"No variant has both a test accuracy and a known cost: {cost_name(cost)}.")
    points = {s.variant: (float(values[s.variant]), 100 * (s.mean or 0)) for s in scores}
    front = [variant for variant in context.verdict.front.get(cost, ()) if variant in points]
    figure = new_figure(8.4, 4.3)
    FigureCanvasAgg(figure)  # measures the texts
    axes: Any = figure.add_subplot()
    _scale(axes, [x for x, _ in points.values()], "s" if "seconds" in cost else "")
    joined = [points[variant] for variant in front]
    axes.plot(*zip(*joined, strict=True), color=SKY, linewidth=1.6, zorder=1) if joined else None
    bars = []
    for variant, (x, y) in points.items():
        seeds = [100 * accuracy for accuracy in context.seeds(variant)] or [y]
        bars.append([(x, min(seeds)), (x, max(seeds))])
        axes.plot([x, x], [min(seeds), max(seeds)], color=QUIET, alpha=0.45, linewidth=1.4, zorder=1)
        on = variant in front
        axes.plot(
            [x], [y], "o", markersize=8, color=BLUE if on else QUIET, markerfacecolor=BLUE if on else "white", zorder=3
        )
    axes.margins(x=0.08, y=0.12)
    quiet_axes(axes, grid="both")
    axes.tick_params(pad=6)  # in the corner the numbers of the two axes stay apart
    axes.set_xlabel(cost_name(cost), fontsize=NORMAL, color=QUIET)
    axes.set_ylabel("mean test accuracy (%)", fontsize=NORMAL, color=QUIET)
    title(axes, f"Accuracy and {short_cost_name(cost)}", "filled, joined: not dominated", BLUE)
    names = figure_names([score.variant for score in scores], every=context.variants)
    place_labels(axes, {names[v]: p for v, p in points.items()}, {names[v] for v in front}, [joined, *bars])
    return figure


def _scale(axes: Any, values: Sequence[float], unit: str) -> None:
    """Logarithmic where the costs spread over a decade; few ticks with short numbers."""
    if min(values) > 0 and max(values) / min(values) > DECADE:
        many = max(values) / min(values) > 100 * DECADE
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if many else (1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value, unit)))


def short_number(value: float, unit: str = "") -> str:
    """``120000`` as ``120 k``, ``0.00025`` with the unit s as ``0.25 ms``: few digits, and a prefix."""
    prefixes = ((1.0, ""), (1e-3, "m"), (1e-6, "µ")) if unit else ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    for factor, prefix in prefixes:
        if abs(value) >= factor * (0.0999 if prefix == "m" else 1):  # 0.4 ms, not 400 µs
            number = value / factor
            return f"{number:,.0f} {prefix}{unit}".rstrip() if number >= 1e4 else f"{number:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}".rstrip()
