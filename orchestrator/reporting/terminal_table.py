"""Tables for a terminal, in the style of the comparison: in a narrow one, the names in the first column stay whole."""

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table


class FittingTable(Table):
    """A table that never cuts what is in it, however narrow the terminal.

    Columns that do not fit beside the first one follow below, under that one again. Those called ``spare`` are left out
    instead, the first one first.
    """

    def __init__(self, *, spare: Sequence[str] = (), **style: Any) -> None:
        super().__init__(**style)
        self.spare = tuple(spare)

    def add_numbers(self, *headers: str) -> None:
        """Add columns that are aligned to the right, each on one line."""
        for header in headers:
            self.add_column(header, justify="right", no_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = [self._needed(i, console, options) for i in range(len(self.columns))]
        blocks = self._blocks(needed, options.max_width)
        for number, block in enumerate(blocks):
            part = self._with(block)
            part.title = self.title if number == 0 else None
            part.caption = self.caption if number == len(blocks) - 1 else None
            if self._width(block, needed) > options.max_width:
                part.columns[0].no_wrap, part.columns[0].overflow = False, "fold"
            yield from Table.__rich_console__(part, console, options)

    def _blocks(self, needed: Sequence[int], width: int) -> list[list[int]]:
        """The columns of each part, by index; the first column is in all of them."""
        kept, spare = list(range(len(self.columns))), list(self.spare)
        while spare and self._width(kept, needed) > width:
            name = spare.pop(0)
            kept = [i for i in kept if self.columns[i].header != name]
        blocks = [kept[:1]]
        for i in kept[1:]:
            if len(blocks[-1]) > 1 and self._width([*blocks[-1], i], needed) > width:
                blocks.append(kept[:1])
            blocks[-1].append(i)
        return blocks

    def _needed(self, column: int, console: Console, options: ConsoleOptions) -> int:
        """The least width of a column, with the blanks beside it, that cuts nothing."""
        alone = self._with([column])
        alone.title, alone.caption, alone.pad_edge = None, None, True
        found = Measurement.get(console, options.update(max_width=10_000), alone)
        return found.maximum if self.columns[column].no_wrap else found.minimum

    def _width(self, columns: Sequence[int], needed: Sequence[int]) -> int:
        between = len(columns) - 1 if self.box is not None else 0
        return sum(needed[i] for i in columns) + between

    def _with(self, columns: Iterable[int]) -> "FittingTable":
        """The same table with only these of its columns."""
        part = copy.copy(self)
        part.columns = [dataclasses.replace(self.columns[i], _index=place) for place, i in enumerate(columns)]
        return part


def bare_table(title: str = "", caption: str = "", gap: int = 0) -> FittingTable:
    """A table without columns yet, a rule under its header and no frame; ``gap``: blanks after each column."""
    return FittingTable(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        caption=caption or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def terminal_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
    """``rows`` of text under ``columns``, all but the first aligned to the right; empty columns are left out."""
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i] for row in rows)]
    table = bare_table(title, caption)
    for i in kept:
        table.add_column(columns[i], justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[i] for i in kept))
    return table
