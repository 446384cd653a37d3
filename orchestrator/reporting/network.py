"""Draw a network: one box per block, with branches side by side, joins and shortcuts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from orchestrator.analysis import Analysis
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.formatting import amount, shape_text
from orchestrator.reporting.network_layout import IMAGE, Block, blocks
from orchestrator.reporting.style import BLUE, INK, LARGE, NORMAL, PURPLE, QUIET, SMALL, literal, sheet

# Inches.
LETTER, LINE, PADDING, BETWEEN, DOWN, LANE, MARGIN = 0.074, 0.185, 0.13, 0.45, 0.42, 0.28, 0.25


@dataclass
class Box:
    """A block with its place: the middle of its upper edge, and its size, in inches from the top left corner."""

    block: Block
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


def draw_trial_network(context: ReportContext) -> Figure:
    """The trial's network."""
    if context.analysis is None:
        raise ValueError("the trial's network has not been analysed")
    return draw_network(context.analysis, context.spec.label)


def draw_network(analysis: Analysis, title: str) -> Figure:
    """Image at the top, logits at the bottom; after each block its output shape."""
    boxes = {block.name: _box(block) for block in blocks(analysis)}
    skips = _skips(boxes)
    width, height = _place(boxes, len(skips))
    figure, axes = sheet(width, height)
    axes.text(MARGIN, MARGIN, literal(title, 60), fontsize=LARGE, fontweight="bold", color=INK, va="top")
    note = f"{analysis.parameters:,} parameters, {amount(analysis.macs)} multiply-accumulates per image"
    axes.text(MARGIN, MARGIN + 0.24, note, fontsize=SMALL, color=QUIET, va="top")
    for box in boxes.values():
        _draw_box(axes, box)
        for source in box.block.inputs:
            if box.block.rank - boxes[source].block.rank == 1:
                _arrow(axes, _elbow(boxes[source], box))
    for number, (source, target) in enumerate(skips):
        _arrow(axes, _around(boxes[source], boxes[target], _lane(boxes, skips, number)), colour=PURPLE)
    return figure


def _box(block: Block) -> Box:
    if block.join or block.name == IMAGE:
        return Box(block, max(1.0, LETTER * len(_heading(block)) + 2 * PADDING), LINE + PADDING)
    longest = max(map(len, [*block.lines, _heading(block) + " " * 6]))
    return Box(block, max(1.6, LETTER * longest + 2 * PADDING), LINE * (len(block.lines) + 1) + 2 * PADDING)


def _heading(block: Block) -> str:
    if block.join:
        return block.lines[0]
    return f"{block.name}   {block.parameters:,}" if block.parameters else block.name


def _skips(boxes: dict[str, Box]) -> list[tuple[str, str]]:
    """Skip connections: those that pass by at least one rank."""
    return [
        (source, name)
        for name, box in boxes.items()
        for source in box.block.inputs
        if box.block.rank - boxes[source].block.rank > 1
    ]


def _place(boxes: dict[str, Box], lanes: int) -> tuple[float, float]:
    """Give every box its place; returns the figure's width and height."""
    ranks: dict[int, list[Box]] = {}
    for box in boxes.values():
        ranks.setdefault(box.block.rank, []).append(box)
    widths = [sum(box.width for box in rank) + BETWEEN * (len(rank) - 1) for rank in ranks.values()]
    room = LANE * (lanes + 1) if lanes else 0.0
    width = max(5.5, max(widths) + 2 * MARGIN + 2 * room)
    top = MARGIN + 0.7
    for number in sorted(ranks):
        rank = ranks[number]
        left = (width - sum(box.width for box in rank) - BETWEEN * (len(rank) - 1)) / 2
        for box in rank:
            box.x, box.y = left + box.width / 2, top
            left += box.width + BETWEEN
        top += max(box.height for box in rank) + DOWN
    return width, top - DOWN + MARGIN + 0.25


def _draw_box(axes: Any, box: Box) -> None:
    block, left = box.block, box.x - box.width / 2
    rounded = block.join or block.name == IMAGE
    colour = PURPLE if block.join else QUIET if block.name == IMAGE else BLUE
    corner = f"round,pad=0,rounding_size={box.height / 2 if rounded else 0.1}"
    axes.add_patch(
        FancyBboxPatch(
            (left, box.y), box.width, box.height, boxstyle=corner,
            facecolor=f"{colour}14", edgecolor=colour, linewidth=1.3,
        )
    )  # fmt: skip
    if rounded:
        middle = box.y + box.height / 2
        axes.text(box.x, middle, literal(_heading(block)), ha="center", va="center", fontsize=SMALL, color=colour)
    else:
        top = box.y + PADDING
        axes.text(left + PADDING, top, literal(block.name), fontsize=NORMAL, fontweight="bold", color=INK, va="top")
        if block.parameters:
            right = left + box.width - PADDING
            axes.text(right, top, f"{block.parameters:,}", fontsize=SMALL, color=QUIET, va="top", ha="right")
        for number, line in enumerate(block.lines, start=1):
            axes.text(left + PADDING, top + 0.03 + number * LINE, literal(line), fontsize=SMALL, color=INK, va="top")
    shape = shape_text(block.shape)
    axes.text(box.x + 0.07, box.y + box.height + 0.06, shape, fontsize=SMALL, color=QUIET, va="top")


def _elbow(source: Box, target: Box) -> list[tuple[float, float]]:
    """From the middle of one lower edge to the middle of the next upper edge."""
    bottom = source.y + source.height
    if abs(source.x - target.x) < 1e-6:
        return [(source.x, bottom), (target.x, target.y)]
    bend = target.y - 0.16
    return [(source.x, bottom), (source.x, bend), (target.x, bend), (target.x, target.y)]


def _lane(boxes: dict[str, Box], skips: list[tuple[str, str]], number: int) -> float:
    """How far right a skip runs: past every box beside it, and past every earlier skip that it overlaps."""

    def ranks(skip: tuple[str, str]) -> range:
        return range(boxes[skip[0]].block.rank, boxes[skip[1]].block.rank + 1)

    mine = ranks(skips[number])
    right = max(box.x + box.width / 2 for box in boxes.values() if box.block.rank in mine)
    overlapping = sum(1 for other in skips[:number] if set(ranks(other)[:-1]) & set(mine[:-1]))
    return right + LANE * (1 + overlapping)


def _around(source: Box, target: Box, lane: float) -> list[tuple[float, float]]:
    """Out of the right side, down a lane of its own, and into the right side of the target."""
    start, end = source.y + source.height * 0.5, target.y + target.height / 2
    return [(source.x + source.width / 2, start), (lane, start), (lane, end), (target.x + target.width / 2, end)]


def _arrow(axes: Any, points: Sequence[tuple[float, float]], colour: str = QUIET) -> None:
    axes.add_patch(
        FancyArrowPatch(
            path=Path(list(points)), arrowstyle="-|>,head_width=2.5,head_length=4", color=colour, linewidth=1.2,
            mutation_scale=1, shrinkA=0, shrinkB=0, joinstyle="round",
        )
    )  # fmt: skip
