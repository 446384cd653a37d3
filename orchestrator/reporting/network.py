"""Draw a network: one box per block, with branches side by side, joins and shortcuts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from orchestrator.analysis import Analysis
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.fonts import columns
from orchestrator.reporting.formatting import amount, shape_text
from orchestrator.reporting.network_box import LANE as STEP
from orchestrator.reporting.network_box import LINE, PADDING, Branch, Inside, inside
from orchestrator.reporting.network_layout import IMAGE, Block, blocks
from orchestrator.reporting.style import BLUE, INK, LARGE, NORMAL, PURPLE, QUIET, SMALL, literal, sheet

# Inches.
LETTER, BETWEEN, DOWN, LANE, MARGIN = 0.074, 0.45, 0.42, 0.28, 0.25
NEAR = 0.05  # from the end of a branch to its line
EARLIER = "dashed: from earlier repetitions"
TIMES = 0.4  # for the number of repetitions


@dataclass
class Box:
    """A block with its place: the middle of its upper edge, and its size, in inches from the top left corner."""

    block: Block
    width: float
    height: float
    inside: Inside = field(default_factory=Inside)
    x: float = 0.0
    y: float = 0.0


def draw_trial_network(context: ReportContext) -> Figure:
    """The trial's network."""
    return draw_network(context.analysed, context.spec.label)


def draw_network(analysis: Analysis, title: str) -> Figure:
    """Image at the top, logits at the bottom; after each block its output shape."""
    boxes = {block.name: _box(block) for block in blocks(analysis)}
    skips = _skips(boxes)
    heading = literal(title, 60)
    note = f"{analysis.parameters:,} parameters, {amount(analysis.macs)} multiply-accumulates per image"
    width, height = _place(boxes, len(skips), max(0.115 * columns(heading), LETTER * columns(note)))
    figure, axes = sheet(width, height)
    axes.text(MARGIN, MARGIN, heading, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    axes.text(MARGIN, MARGIN + 0.24, note, fontsize=SMALL, color=QUIET, va="top")
    if any(line.again for box in boxes.values() for line in box.block.flow):
        axes.text(MARGIN, MARGIN + 0.42, EARLIER, fontsize=SMALL, color=PURPLE, va="top")
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
        return Box(block, max(1.0, LETTER * columns(literal(_heading(block))) + 2 * PADDING), LINE + PADDING)
    longest = max(columns(literal(text)) for text in (*block.lines, _heading(block) + "." * 6))
    places = inside(block)
    beside = places.gutter + (TIMES if block.repeats else 0.0)
    return Box(block, max(1.6, LETTER * longest + 2 * PADDING + beside), places.height, places)


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


def _place(boxes: dict[str, Box], lanes: int, least: float = 0.0) -> tuple[float, float]:
    """Give every box its place; returns the figure's width, with room for a text of ``least``, and its height."""
    ranks: dict[int, list[Box]] = {}
    for box in boxes.values():
        ranks.setdefault(box.block.rank, []).append(box)
    widths = [sum(box.width for box in rank) + BETWEEN * (len(rank) - 1) for rank in ranks.values()]
    room = LANE * (lanes + 1) if lanes else 0.0
    width = max(5.5, least + 2 * MARGIN, max(widths) + 2 * MARGIN + 2 * room)
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
        _draw_inside(axes, box)
    shape = shape_text(block.shape)
    axes.text(box.x + 0.07, box.y + box.height + 0.06, shape, fontsize=SMALL, color=QUIET, va="top")


def _draw_inside(axes: Any, box: Box) -> None:
    """Name and parameters, a line for each group of layers, and the branches between them at their left."""
    block, places = box.block, box.inside
    left, right, top = box.x - box.width / 2, box.x + box.width / 2 - PADDING, box.y + PADDING
    text = left + PADDING + places.gutter
    axes.text(text, top, literal(block.name), fontsize=NORMAL, fontweight="bold", color=INK, va="top")
    if block.parameters:
        axes.text(right, top, f"{block.parameters:,}", fontsize=SMALL, color=QUIET, va="top", ha="right")
    for upper, lower, repeat in places.repeats:
        axes.add_patch(
            FancyBboxPatch(
                (left + 0.05, box.y + upper), box.width - 0.1, lower - upper,
                boxstyle="round,pad=0,rounding_size=0.06", facecolor="white", edgecolor=BLUE, linewidth=0.8,
            )
        )  # fmt: skip
        middle = box.y + (upper + lower) / 2
        axes.text(
            right, middle, f"× {repeat.times}", fontsize=SMALL, color=BLUE, va="center", ha="right", fontweight="bold"
        )
    for y in places.apart:
        axes.plot([text, right], [box.y + y] * 2, color=BLUE, alpha=0.35, linewidth=0.8)
    for y, line in zip(places.lines, block.lines, strict=True):
        axes.text(text, box.y + y, literal(line), fontsize=SMALL, color=INK, va="center")
    for number, lane in enumerate(places.lanes, start=1):
        for branch in lane:
            _draw_branch(axes, branch, box.y, text - NEAR, text - NEAR - STEP * number)


def _draw_branch(axes: Any, branch: Branch, top: float, text: float, lane: float) -> None:
    """Dots where it leaves, arrows where it arrives; from an upper edge it comes straight down; dashed: again."""
    style = (0, (2, 1.5)) if branch.again else "solid"
    high, low = branch.ends
    axes.plot([lane, lane], [top + high, top + low], color=PURPLE, linewidth=1.2, linestyle=style)
    axes.plot([lane] * len(branch.edge), [top + y for y in branch.edge], "o", color=PURPLE, markersize=3)
    for y in branch.leaves:
        axes.plot([text, lane], [top + y] * 2, color=PURPLE, linewidth=1.2)
        axes.plot([text], [top + y], "o", color=PURPLE, markersize=3)
    for y in branch.arrives:
        _arrow(axes, [(lane, top + y), (text, top + y)], colour=PURPLE)


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
