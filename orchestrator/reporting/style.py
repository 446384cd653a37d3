"""The common style of all figures: colours for colour-blind readers, plain axes, plain words."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from orchestrator.reporting.fonts import AnyScriptFigure, columns, drawable, first_columns

MARGIN = 0.14  # inches round every figure
DPI = 110  # pixels an inch: sharp on a page, small in a file

# Okabe and Ito, Color Universal Design (2008).
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE = "#56B4E9", "#CC79A7"
INK, QUIET, HAIRLINE = "#1a1a1a", "#666666", "#dddddd"  # text, secondary text, grid

SMALL, NORMAL, LARGE = 9.0, 10.0, 12.0  # points
BLUES = LinearSegmentedColormap.from_list("orchestrator.blues", ["#ffffff", "#cfe5f2", "#56B4E9", "#0072B2", "#003f63"])


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of ``width`` x ``height`` inches, without a window or global state."""
    layout = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN)
    return AnyScriptFigure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")


def title(axes: Any, text: str, note: str = "", colour: str = QUIET, size: float = LARGE) -> None:
    """A bold title at the left, and a note at the right of the same line."""
    axes.set_title(text, loc="left", fontsize=size, fontweight="bold", color=INK, pad=8)
    if note:
        axes.set_title(note, loc="right", fontsize=NORMAL, color=colour, pad=8)


def beside(axes: Any, height: float, text: str, offset: float, **style: Any) -> None:
    """Write ``text`` at the right of the axes, ``offset`` points from their edge."""
    axes.annotate(
        text, (1, height), xycoords=axes.get_yaxis_transform(), xytext=(offset, 0), textcoords="offset points",
        va="center", annotation_clip=False, **style,
    )  # fmt: skip


def quiet_axes(axes: Any, grid: str = "y") -> None:
    """No box, a light grid along ``grid`` (x, y or both; empty for none), small grey ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(HAIRLINE)
    axes.tick_params(colors=QUIET, labelsize=SMALL, length=0, labelcolor=INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(visible=True, axis=grid, color=HAIRLINE, linewidth=0.6)


def sheet(width: float, height: float) -> tuple[Figure, Any]:
    """A figure for free drawing and axes over all of it, in inches from the top left corner."""
    figure = AnyScriptFigure(figsize=(width, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def percent_axis(axis: Any) -> None:
    """Show fractions in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.10g} %"))


def whole_numbers(axis: Any) -> None:
    """Ticks at integers only."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))


def percent(fraction: float, digits: int = 1) -> str:
    """``0.8642`` as ``86.4 %``."""
    return f"{100 * fraction:.{digits}f} %" if math.isfinite(fraction) else "not a number"


def literal(text: str, longest: int = 0) -> str:
    """``text`` as matplotlib shows it: one line, no mathematics; cut to ``longest`` columns if given.

    A character that no installed font has becomes its code: ``\\u732b``. Chinese, Japanese and Korean ones take two
    columns.
    """
    line = _cut(" ".join(text.split()), longest)
    shown = drawable(line)
    if shown is None:
        shown = _cut("".join(map(_or_code, line)), longest)
    return shown.replace("$", r"\$")


def _or_code(character: str) -> str:
    return character if drawable(character) is not None else character.encode("unicode_escape").decode()


def _cut(line: str, longest: int) -> str:
    if not longest or columns(line) <= longest:
        return line
    return first_columns(line, longest - 1).rstrip() + "…"


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions in the same order but at least ``gap`` apart, moved as little as a single sweep allows."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    shift = sum(m - p for m, p in zip(moved, positions, strict=True)) / max(1, len(positions))
    return [m - shift for m in moved]


def message(text: str, width: float = 7.5) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(width, 2.0)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=LARGE, color=QUIET)
    return figure


def image_at(figure: Figure, image: NDArray[np.uint8], left: float, top: float, size: float) -> None:
    """Put (H, W, 3) uint8 on a sheet, in a square of ``size`` inches, every pixel sharp, with a hairline round it."""
    height, width = image.shape[:2]
    scale = size * DPI / max(height, width)
    high, wide = round(height * scale), round(width * scale)
    enlarged = image[np.arange(high) * height // high][:, np.arange(wide) * width // wide]
    framed = np.pad(enlarged[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), constant_values=0xDD)
    free = round(size * DPI)  # an image that is not square is centred
    x = round(left * DPI) + (free - wide) // 2
    y = round((figure.get_figheight() - top) * DPI) - free + (free - high) // 2
    figure.figimage(framed, x, y, origin="upper")
