"""The inside of one box of a network's drawing: where its lines stand, and how branches run between them."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from orchestrator.reporting.network_layout import Block
from orchestrator.reporting.network_lines import GIVEN, Repeat

# Inches.
LINE, PADDING, LANE, AROUND, APART = 0.185, 0.13, 0.1, 0.06, 0.05
SIDE = 0.035  # a branch leaves a line below its middle, and another arrives above it
Point = tuple[float, float]


@dataclass(frozen=True)
class Branch:
    """A branch that runs beside the lines: from the dots where it leaves them to the arrows where it arrives."""

    leaves: tuple[float, ...]  # lines
    arrives: tuple[float, ...]
    edge: tuple[float, ...] = ()  # the upper edge of the box or of a repetition, where it leaves what these are given
    again: bool = False  # from another repetition than the one before

    @property
    def ends(self) -> tuple[float, float]:
        """The highest and the lowest of its places."""
        every = (*self.leaves, *self.edge, *self.arrives)
        return min(every), max(every)


@dataclass
class Inside:
    """Places in a box, in inches below its upper edge."""

    lines: list[float] = field(default_factory=list)  # the middle of each line
    apart: list[float] = field(default_factory=list)  # hairlines above what does not follow the line above it
    repeats: list[tuple[float, float, Repeat]] = field(default_factory=list)  # upper and lower edge
    lanes: list[list[Branch]] = field(default_factory=list)  # from the text outwards
    height: float = 0.0

    @property
    def gutter(self) -> float:
        """The width that the branches take, left of the text."""
        return LANE * len(self.lanes) + (LANE if self.lanes else 0.0)


def inside(block: Block) -> Inside:
    """Where the lines, branches and repetitions of a block's box stand."""
    found = Inside()
    y = PADDING + LINE  # below the name
    firsts, lasts = {r.first: r for r in block.repeats}, {r.first + r.count - 1: r for r in block.repeats}
    tops: dict[Repeat, float] = {}
    for place, line in enumerate(block.flow):
        if place and place - 1 not in line.sources:
            found.apart.append(y + 0.03 + APART / 2)
            y += APART
        if place in firsts:
            tops[firsts[place]] = y + AROUND / 2
            y += AROUND
        found.lines.append(y + LINE / 2 + 0.02)
        y += LINE
        if place in lasts:
            y += AROUND
            found.repeats.append((tops[lasts[place]], y, lasts[place]))
            y += AROUND / 2
    found.height = y + PADDING
    found.lanes = _lanes(list(_branches(block, found, {r.first: top for r, top in tops.items()})))
    return found


def _branches(block: Block, places: Inside, tops: dict[int, float]) -> Iterator[Branch]:
    """All but those from a line to the next, which their order shows. What leaves or arrives at one place is one."""
    together: dict[tuple[tuple[float, ...], tuple[float, ...]], list[float]] = {}
    for place, line in enumerate(block.flow):
        repeat = next((r for r in block.repeats if r.first <= place < r.first + r.count), None)
        begins, top = (repeat.first, tops[repeat.first]) if repeat else (0, 0.0)
        leaves, edge = _places(line.sources - {place - 1}, places, begins, top)
        arrives = places.lines[place] - SIDE
        if len(leaves) + len(edge) > 1:
            yield Branch(leaves, (arrives,), edge)
        elif leaves or edge:
            together.setdefault((leaves, edge), []).append(arrives)
        if line.again:
            leaves, edge = _places(line.again, places, 0, 0.0)
            yield Branch(leaves, (arrives,), edge, again=True)
    for (leaves, edge), ends in together.items():
        yield Branch(leaves, tuple(ends), edge)


def _places(sources: Set[int], places: Inside, begins: int, top: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of lines, and of the upper edge ``top``, which stands for what comes right before line ``begins``."""
    leaves = [places.lines[source] + SIDE for source in sorted(sources) if source not in (GIVEN, begins - 1)]
    edges = {top if source == begins - 1 else 0.0 for source in sources if source in (GIVEN, begins - 1)}
    return tuple(leaves), tuple(sorted(edges))


def _lanes(branches: Sequence[Branch]) -> list[list[Branch]]:
    """Short branches next to the text, and those that would cover one another beside one another."""
    lanes: list[list[Branch]] = []
    for branch in sorted(branches, key=lambda b: b.ends[1] - b.ends[0]):
        low, high = branch.ends
        for lane in lanes:
            if all(high < other.ends[0] or low > other.ends[1] for other in lane):
                lane.append(branch)
                break
        else:
            lanes.append([branch])
    return lanes
