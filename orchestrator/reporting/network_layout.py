"""The layout of a network's drawing: ranks from the image to the output, branches side by side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.analysis import Analysis, LayerRow
from orchestrator.reporting.network_lines import FOLLOWERS, JOINS, Line, Repeat, fitted, lines_of

IMAGE = "image"


@dataclass(eq=False)
class Block:
    """One box: its name, a line for each group of layers, its output shape, and its input boxes."""

    name: str
    lines: list[str]
    shape: tuple[int, ...]
    inputs: list[str] = field(default_factory=list)
    join: bool = False
    rank: int = 0
    parameters: int = 0
    label: str = ""  # the module's name, the same each time that it is called
    flow: list[Line] = field(default_factory=list)  # the lines, with those that feed each of them
    repeats: list[Repeat] = field(default_factory=list)


def blocks(analysis: Analysis) -> list[Block]:
    """The network's blocks in the order in which they are computed, the image first.

    A block is a module of the network; one that does not fit into a box is drawn as the modules inside it.
    """
    opened: set[str] = set()
    while True:
        found, rows = _grouped(analysis, opened)
        shortened = {
            block.label
            for block, mine in zip(found, rows, strict=True)
            if any(line.hidden for line in block.flow) and _has_parts(block.label, mine)
        }
        if shortened <= opened:
            return found
        opened |= shortened


def _has_parts(label: str, rows: Sequence[LayerRow]) -> bool:
    """Whether it consists of modules that themselves have modules or functions inside."""
    return any("." in row.name.removeprefix(f"{label}.") for row in rows if row.name != label)


def _grouped(analysis: Analysis, opened: set[str]) -> tuple[list[Block], list[list[LayerRow]]]:
    home: dict[str, Block] = {}  # by the name of a layer
    found = [Block(IMAGE, [], analysis.input_shape)]
    rows: list[list[LayerRow]] = [[]]
    labels = [_label(row, opened) for row in analysis.layers]
    layers = Counter(labels)
    for row, label in zip(analysis.layers, labels, strict=True):
        block = found[-1]
        sources = [home.get(name, found[0]) for name in row.inputs] or [found[0]]
        # A lone activation or normalisation joins the box before it.
        follows = layers[label] == 1 and row.type.lower() in FOLLOWERS and sources == [block] and not block.join
        if len(found) == 1 or not (block.label == label or follows):
            block = Block(_unused(label, found), [], (), label=label, join=_is_join(row, label))
            found.append(block)
            rows.append([])
        for source in sources:
            if source is not block and source.name not in block.inputs:
                block.inputs.append(source.name)
                block.rank = max(block.rank, source.rank + 1)
        home[row.name] = block
        rows[-1].append(row)
        block.shape = row.output_shape
        block.parameters += row.parameters
    for block, mine in zip(found, rows, strict=True):
        block.flow, block.repeats = fitted(lines_of(mine, block.label))
        block.lines = [str(line) for line in block.flow]
    return found, rows


def _label(row: LayerRow, opened: set[str]) -> str:
    """The module whose box it is in: the outermost that is not opened; a function outside any has its own."""
    label = row.block or row.name
    while label in opened and row.name.startswith(f"{label}."):
        label = ".".join(row.name.split(".")[: label.count(".") + 2])
    return label


def _is_join(row: LayerRow, label: str) -> bool:
    """Whether it is a function between boxes that takes several tensors."""
    return len(row.inputs) > 1 and (not row.block or (label == row.name and row.type in JOINS))


def _unused(label: str, found: Sequence[Block]) -> str:
    """A name for a box; a block that comes again later is another box."""
    times = 1 + sum(block.label == label for block in found)
    return label if times == 1 else f"{label} ({times})"
