"""Every pair of variants: decision, difference and probability of superiority, as a figure and as an HTML table."""

from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.decisions import SHORT, SYMBOLS, Seen, seen
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.fonts import columns
from orchestrator.reporting.style import (
    BLUE,
    HAIRLINE,
    INK,
    LARGE,
    MARGIN,
    NORMAL,
    QUIET,
    SMALL,
    message,
    sheet,
)
from orchestrator.verdict.result import Decision

ROOMY = 6  # columns up to which cells hold words
MOST = 14  # columns up to which they hold numbers; a table has those of more
CHARACTER = 0.083  # inches, about, of text of normal size
FILL = {  # of a cell, by symbol: colour, and the text's colour
    "▲": (BLUE, "white"),
    "△": ("#cfe5f2", INK),
    "≈": ("#d5efe6", INK),
    "?": ("#ffffff", QUIET),
    "▼": ("#a94a00", "white"),
    "▽": ("#fbe0cc", INK),
}


@dataclass(frozen=True)
class Matrix:
    """Rows against columns, each best first; a cell is what the row's variant has against the column's."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Seen]


def pair_matrix(context: ComparisonContext) -> Matrix:
    """All pairs above the diagonal; with a baseline one column, every other variant against it."""
    names = [score.variant for score in context.measured]
    baseline = context.verdict.baseline
    cells = {}
    for pair in context.verdict.pairs:
        if baseline is not None:
            row = pair.a if pair.b == baseline else pair.b
            cells[row, baseline] = seen(pair, row)
        else:
            row, column = sorted((pair.a, pair.b), key=names.index)
            cells[row, column] = seen(pair, row)
    rows = tuple(name for name in names if any(row == name for row, _ in cells))
    columns = tuple(name for name in names if any(column == name for _, column in cells))
    return Matrix(rows, columns, cells)


def draw_matrix(context: ComparisonContext) -> Figure:
    """Cells in stairs: the row's variant stands at the left of its first cell, the column's below its last one."""
    matrix = pair_matrix(context)
    if not matrix.cells:
        return message("There are no two variants with a test accuracy.")
    wide, high = _cell_size(len(matrix.columns))
    names = figure_names([*matrix.rows, *matrix.columns], every=context.variants)
    stairs = len(matrix.columns) > 1
    lengths = [
        columns(names[row]) * CHARACTER + 0.15 - (wide * i if stairs else 0) for i, row in enumerate(matrix.rows)
    ]
    if stairs:
        lengths.append(columns(names[matrix.columns[-1]]) * CHARACTER + 0.15 - wide * len(matrix.columns))
    left = MARGIN + max(lengths)
    top = MARGIN + (0.4 if stairs else 0.68)
    legend = _legend(context, matrix)
    width = max(left + wide * len(matrix.columns), MARGIN + 0.073 * len(legend)) + MARGIN
    figure, axes = sheet(width, top + high * len(matrix.rows) + (0.85 if stairs else 0.5))
    heading = "Every pair" if context.verdict.baseline is None else "Against the baseline"
    axes.text(MARGIN, MARGIN, heading, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    for (row, column), cell in matrix.cells.items():
        i, j = matrix.rows.index(row), matrix.columns.index(column)
        _draw_cell(axes, cell, (left + wide * j, top + high * i), (wide, high))
    for i, row in enumerate(matrix.rows):
        step = left + (wide * i if stairs else 0) - 0.08
        _name(axes, names[row], step, top + high * (i + 0.5), "right")
    if stairs:
        end = left + wide * len(matrix.columns) - 0.08
        _name(axes, names[matrix.columns[-1]], end, top + high * (len(matrix.rows) + 0.5) - 0.1, "right")
    else:
        _name(axes, names[matrix.columns[0]], left, top - 0.13, "left")
    axes.text(MARGIN, figure.get_figheight() - MARGIN, legend, fontsize=SMALL, color=QUIET, va="bottom")
    return figure


def _name(axes: Any, text: str, x: float, y: float, side: str) -> None:
    axes.text(x, y, text, fontsize=NORMAL, color=INK, ha=side, va="center")


def _cell_size(columns: int) -> tuple[float, float]:
    """Inches: for words, for numbers, or of very many columns for a symbol."""
    if columns <= ROOMY:
        return 1.32, 0.72
    return (max(0.7, 8.0 / columns), 0.44) if columns <= MOST else (0.3, 0.26)


def _draw_cell(axes: Any, cell: Seen, corner: tuple[float, float], size: tuple[float, float]) -> None:
    fill, ink = FILL[cell.symbol]
    axes.add_patch(Rectangle(corner, *size, facecolor=fill, edgecolor=HAIRLINE, linewidth=1))
    beats = "" if cell.beats is None else f"{cell.beats:.2f}"
    lines = [f"{cell.symbol} {cell.points}", f"P {beats}" if beats else ""]
    roomy = size[0] > 1
    if size[0] < 0.5:
        lines = [cell.symbol]
    elif roomy:
        lines = [f"{cell.symbol} {cell.word}", f"{cell.points} points", f"P(A > B) = {beats}" if beats else ""]
    for number, line in enumerate(lines):
        offset = 0.2 * (number - (len(lines) - 1) / 2) * (1 if roomy else 0.85)
        axes.text(
            corner[0] + size[0] / 2, corner[1] + size[1] / 2 + offset, line, ha="center", va="center", color=ink,
            fontsize=SMALL if roomy else 7.5, fontweight="normal" if number else "bold",
        )  # fmt: skip


def _legend(context: ComparisonContext, matrix: Matrix) -> str:
    words = [f"{SYMBOLS[d]} {SHORT[d]}" for d in Decision]
    if {cell.symbol for cell in matrix.cells.values()} & {"▼", "▽"}:
        words += ["▼ worse", "▽ slightly worse"]
    if context.verdict.margin is None:
        words = [word for word in words if not word.startswith(("△", "≈", "▽"))]
    return "    ".join([*words, "P: one run beats one run"])


def matrix_table(context: ComparisonContext) -> str:
    """The same cells as an HTML table that a screen reader can read: headed rows and columns, decisions in words."""
    matrix = pair_matrix(context)
    if not matrix.cells:
        return ""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in matrix.columns)
    lines = []
    for row in matrix.rows:
        cells = "".join(_cell_html(matrix.cells.get((row, column))) for column in matrix.columns)
        lines.append(f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>')
    body = "\n".join(lines)
    return (
        '<div class="wide"><table class="matrix"><caption>Row against column: decision, percentage points, and P, the '
        "probability that one run of the row’s variant beats one of the column’s.</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _cell_html(cell: Seen | None) -> str:
    if cell is None:
        return "<td></td>"
    beats = "" if cell.beats is None else f"<br>P = {cell.beats:.2f}"
    decision = f"{cell.symbol} {escape(cell.words)}"
    return f'<td class="{DECISION_CLASS[cell.symbol]}"><b>{decision}</b><br>{cell.points} points{beats}</td>'


DECISION_CLASS = {"▲": "better", "△": "slightly", "≈": "equivalent", "?": "undecided", "▼": "worse", "▽": "less"}
MATRIX_STYLE = """
.matrix { width: auto; } .matrix th, .matrix td { white-space: normal; padding: .45rem .7rem; vertical-align: top; }
.matrix th { max-width: 11rem; overflow-wrap: anywhere; min-width: 5rem; color: inherit; }
.matrix td { min-width: 7rem; }
.matrix caption { text-align: left; color: var(--quiet); padding-bottom: .5rem; min-width: 14rem; }
.better { background: #0072b2; color: #fff; } .slightly { background: #cfe5f2; color: #1a1a1a; }
.equivalent { background: #d5efe6; color: #1a1a1a; } .worse { background: #a94a00; color: #fff; }
.less { background: #fbe0cc; color: #1a1a1a; }
"""
