"""The report of one trial: figures, tables and one page, from whatever the trial got to."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import StorageError
from orchestrator.files import write_atomically, write_text
from orchestrator.reporting import network_tables, tables
from orchestrator.reporting.figures import FIGURES, to_png
from orchestrator.reporting.html import Picture
from orchestrator.reporting.material import Material
from orchestrator.reporting.page import write_page
from orchestrator.reporting.tables import Table

# What each table needs of the material, and how it is made.
TABLES: tuple[tuple[str, str, Callable[[Material], Table]], ...] = (
    ("classification report", "logits", tables.classification_report),
    ("accuracy of each class", "logits", tables.class_accuracy),
    ("layers", "analysis", network_tables.layers),
    ("receptive field", "analysis", network_tables.receptive_field),
)
ABSENT = {
    "logits": "the trial did not get to its test predictions",
    "network": "the trial kept no weights",
    "analysis": "the network was not analysed",
    "augmentation": "the trial augments nothing",
}


def render_report(material: Material, folder: Path, on_warning: Callable[[str], None]) -> None:
    """Write ``figures/*.png``, ``tables/*.csv``, ``tables/*.md`` and ``report.html`` into ``folder``.

    What the trial did not get to is left out and named on the page. A figure or a table that fails costs one call of
    ``on_warning`` and nothing else. Safe in a background thread. Raises StorageError if the folder cannot be written.
    """
    absent: list[str] = []
    pictures: list[Picture] = []
    made: list[Table] = []
    for name, entry in FIGURES.items():
        if reason := _missing(material, entry.needs):
            absent.append(f"{entry.title}: {reason}.")
            continue
        try:
            pictures.append(Picture(name, entry.title, entry.caption, to_png(entry.draw(material))))
        except Exception as problem:
            on_warning(f"figure {name} could not be drawn: {_describe(problem)}")
            absent.append(f"{entry.title}: it could not be drawn.")
    for title, needs, make in TABLES:
        if reason := _missing(material, (needs,)):
            absent.append(f"Table, {title}: {reason}.")
            continue
        try:
            made.append(make(material))
        except Exception as problem:
            on_warning(f"table {title} could not be made: {_describe(problem)}")
            absent.append(f"Table, {title}: it could not be made.")
    try:
        _write(material, folder, pictures, made, absent)
    except OSError as problem:
        raise StorageError(f"{folder}: the report cannot be written: {problem.strerror}") from problem


def _write(material: Material, folder: Path, pictures: list[Picture], made: list[Table], absent: list[str]) -> None:
    for picture in pictures:
        write_atomically(folder / "figures" / f"{picture.name}.png", picture.write)
    for table in made:
        write_text(folder / "tables" / f"{table.name}.csv", table.to_csv())
        write_text(folder / "tables" / f"{table.name}.md", table.to_markdown())
    write_text(folder / "report.html", write_page(material, pictures, made, absent))


def _missing(material: Material, needs: tuple[str, ...]) -> str:
    """Why something cannot be made, or nothing."""
    return next((ABSENT[need] for need in needs if getattr(material, need) is None), "")


def _describe(problem: Exception) -> str:
    text = str(problem)
    return f"{type(problem).__name__}: {text.splitlines()[0]}" if text else type(problem).__name__
