"""The page of a launch: figures, tables and one HTML file, as far as the launch got."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.files import write_atomically, write_text
from orchestrator.reporting.comparison import class_accuracy, disagreement, numbers, parts, sections
from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.html import FigureImage
from orchestrator.reporting.tables import Table
from orchestrator.text import in_one_line

PAGE = "comparison.html"  # written last: if it is new, everything beside it is
Log = Callable[[str], None]

# By section. To add a figure, add an entry in parts.py to one of these.
FIGURES: dict[str, Callable[[ComparisonContext], list[parts.FigureEntry]]] = {
    "intervals": lambda context: [parts.interval_figure(context)],
    "pairs": lambda context: [parts.matrix_figure(context)],
    "fronts": parts.front_figures,
    "curves": parts.curve_figures,
    "classes": lambda context: [parts.class_figure(context)],
    "disagreement": parts.disagreement_figures,
}
TABLES: dict[str, Callable[[ComparisonContext], Table]] = {
    "variants": numbers.variants_table,
    "pairs": numbers.pairs_table,
    "trials": numbers.trials_table,
    "published_curve": numbers.published_table,
    "class_accuracy": class_accuracy.class_table,
    "disagreement": disagreement.count_table,
    "disagreement_images": disagreement.image_table,
}


@dataclass
class _Made:
    """What could be made, and a sentence for everything else."""

    figures: dict[str, list[FigureImage]] = field(default_factory=dict)  # by section
    tables: dict[str, Table] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def write_comparison(context: ComparisonContext, folder: Path, log: Log) -> None:
    """Write ``figures/*.png``, ``tables/*.csv``, ``tables/*.md`` and, last, ``comparison.html`` into ``folder``.

    Each file is whole or absent. What is not known is left out and named on the page; a figure or table that fails
    costs one call of ``log`` and nothing else. Raises StorageError if the folder cannot be written.
    """
    made = _make(context, log)
    text = sections.page(context, made.figures, made.tables, made.absent)
    try:
        for image in [image for images in made.figures.values() for image in images]:
            write_atomically(folder / "figures" / f"{image.name}.png", image.write)
        for table in [
            *made.tables.values(),
            *(one.table for one in (*context.rounds, *context.spending, *context.search)),
        ]:
            write_text(folder / "tables" / f"{table.name}.csv", table.to_csv())
            write_text(folder / "tables" / f"{table.name}.md", table.to_markdown())
        write_text(folder / PAGE, text)
    except OSError as problem:
        raise StorageError(f"{folder}: the comparison cannot be written: {problem.strerror}") from problem


def notebook_summary(context: ComparisonContext) -> str:
    """The verdict in words, its variants and its pairs as HTML, for a notebook; draws nothing."""
    made = [numbers.variants_table(context), numbers.pairs_table(context)]
    return sections.summary(context, [table for table in made if table.rows])


def _make(context: ComparisonContext, log: Log) -> _Made:
    made = _Made()
    for section, entries in FIGURES.items():
        made.figures[section] = []
        for entry in _tried(f"figures {section}", partial(entries, context), made, log) or []:
            if entry.absent:
                made.absent.append(f"{entry.title} (figure): {entry.absent}.")
            elif (image := _tried(f"figure {entry.name}", entry.make, made, log)) is not None:
                made.figures[section].append(image)
    for name, build in TABLES.items():
        table = _tried(f"table {name}", partial(build, context), made, log)
        if table is not None and table.rows:
            made.tables[name] = table
    return made


def _tried(name: str, make: Callable[[], Any], made: _Made, log: Log) -> Any:
    """What ``make`` returns; None if it fails, which is logged and named on the page."""
    try:
        return make()
    except Exception as problem:
        log(f"{name} could not be made: {in_one_line(problem)}")
        made.absent.append(f"{name[0].upper()}{name[1:]}: it could not be made.")
        return None
