"""Names of classes and variants in figures: as they are, or numbers where no installed font can draw them."""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.reporting.fonts import drawable
from orchestrator.reporting.style import literal

MOST_LISTED = 40  # names in a sentence; a table has all of them


def numbered(name: str, number: str, longest: int = 0, shorten: Callable[[str, int], str] | None = None) -> str:
    """``name`` as matplotlib shows it; ``number`` if it cannot be drawn.

    Cut to ``longest`` columns if given, by ``shorten`` or else at its end.
    """
    if not _can_be_drawn(name):
        return number
    return literal(name, longest) if shorten is None else literal(shorten(name, longest))


def class_names(names: Sequence[str], longest: int = 0) -> list[str]:
    """Each of a dataset's classes as :func:`numbered` shows it, with its label as the number."""
    return [class_name(name, label, longest) for label, name in enumerate(names)]


def class_name(name: str, label: int, longest: int = 0, shorten: Callable[[str, int], str] | None = None) -> str:
    """One class, which has this label, as :func:`numbered` shows it."""
    return numbered(name, f"#{label}", longest, shorten)


def variant_number(place: int) -> str:
    """The number of a variant, told from those of classes; the first is 1."""
    return f"variant #{place}"


def class_numbers(names: Sequence[str]) -> dict[str, str]:
    """For :func:`numbers_note`."""
    return {name: f"#{label}" for label, name in enumerate(names)}


def numbers_note(names: Mapping[str, str], what: str) -> str:
    """What the numbers in the figures stand for, as a sentence; empty if every name is drawn.

    ``names``: by name, its number. ``what``: what they are the names of, such as ``classes``.
    """
    hidden = [f"{number} {name}" for name, number in names.items() if not _can_be_drawn(name)]
    if not hidden:
        return ""
    more = f", and {len(hidden) - MOST_LISTED:,} more" if len(hidden) > MOST_LISTED else ""
    return (
        f"No font on the machine that drew the figures can show the names of these {what}, so there numbers stand for "
        f"them: {', '.join(hidden[:MOST_LISTED])}{more}."
    )


def _can_be_drawn(name: str) -> bool:
    return drawable(" ".join(name.split())) is not None
