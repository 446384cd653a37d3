"""Variants' names as they fit into figures: short, and still different from each other."""

from collections import Counter
from collections.abc import Sequence

from orchestrator.reporting.fonts import columns, first_columns
from orchestrator.reporting.names import numbered, variant_number

LONGEST = 28  # columns of a variant's name in a figure


def shortened(name: str, longest: int = LONGEST) -> str:
    """``name`` in one line of at most ``longest`` columns, its beginning and its end kept."""
    line = " ".join(name.split())
    if columns(line) <= longest:
        return line
    last = first_columns(line[::-1], (longest - 1) // 2)[::-1]
    return f"{first_columns(line, longest - 1 - columns(last))}…{last}"


def figure_names(names: Sequence[str], longest: int = LONGEST, every: Sequence[str] = ()) -> dict[str, str]:
    """Each of the ``names`` as matplotlib shows it, shortened; those that become equal are numbered in order.

    One that no installed font can draw is ``variant #n``, its place among ``every`` variant.
    """
    places = {name: place for place, name in reversed([*enumerate(every or dict.fromkeys(names), 1)])}

    def show(name: str, longest: int) -> str:
        return numbered(name, variant_number(places[name]), longest, shortened)

    short = {name: show(name, longest) for name in names}
    count = Counter(short.values())
    return {
        name: text if count[text] == 1 else f"{show(name, longest - 4)} ({place})"
        for place, (name, text) in enumerate(short.items(), 1)
    }
