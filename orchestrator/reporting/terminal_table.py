"""A table for a terminal with 80 columns, in the style of the comparison."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table


def bare_table(title: str = "", caption: str = "") -> Table:
    """A table without columns yet, a rule under its header and no frame."""
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        caption=caption or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
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
