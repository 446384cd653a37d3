"""Variants' names as they fit into figures: short, and still different from each other."""

from collections import Counter
from collections.abc import Sequence

from orchestrator.reporting.style import literal

LONGEST = 28  # characters of a variant's name in a figure


def shortened(name: str, longest: int = LONGEST) -> str:
    """``name`` in one line of at most ``longest`` characters, its beginning and its end kept."""
    line = " ".join(name.split())
    if len(line) <= longest:
        return line
    end = (longest - 1) // 2
    return f"{line[: longest - 1 - end]}…{line[-end:]}"


def figure_names(names: Sequence[str], longest: int = LONGEST) -> dict[str, str]:
    """Each of the ``names`` as matplotlib shows it, shortened; those that become equal are numbered in order."""
    short = {name: literal(shortened(name, longest)) for name in names}
    count = Counter(short.values())
    return {
        name: text if count[text] == 1 else f"{literal(shortened(name, longest - 4))} ({place})"
        for place, (name, text) in enumerate(short.items(), 1)
    }
