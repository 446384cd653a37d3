"""The report of one trial: figures, tables and one page, as far as the trial got."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StorageError
from orchestrator.files import write_atomically, write_text
from orchestrator.reporting import network_tables, tables
from orchestrator.reporting.figures import FIGURES, to_png
from orchestrator.reporting.html import Picture
from orchestrator.reporting.made import Made
from orchestrator.reporting.material import Material
from orchestrator.reporting.page import write_page
from orchestrator.reporting.tables import Table
from orchestrator.text import in_one_line


@dataclass(frozen=True)
class TableEntry:
    """A table that can be made if the material has what it ``needs``."""

    title: str
    needs: tuple[str, ...]
    make: Callable[[Material], Table]
    shared: bool = False  # the same for all trials of a variant in one launch


TABLES = (
    TableEntry("classification report", ("logits",), tables.classification_report),
    TableEntry("accuracy of each class", ("logits",), tables.class_accuracy),
    TableEntry("layers", ("analysis",), network_tables.layers, shared=True),
    TableEntry("receptive field", ("analysis",), network_tables.receptive_field, shared=True),
)
REPORT = "report.html"  # written last: if it exists, the report is complete
ABSENT = {
    "logits": "the trial was not evaluated on the test split",
    "network": "the trial has no saved weights",
    "analysis": "the network was not analysed",
    "augmentation": "the trial has no augmentation",
}


def draw_shared(material: Material, on_warning: Callable[[str], None]) -> Made:
    """What all trials of the material's variant share in one launch: drawn once, and passed to :func:`render_report`.

    Depends on the variant's analysis and the dataset, not on the trial. Each failure costs one call of ``on_warning``.
    """
    return _make(material, on_warning, shared=True)


def render_report(
    material: Material, folder: Path, on_warning: Callable[[str], None], shared: Made | None = None
) -> None:
    """Write ``figures/*.png``, ``tables/*.csv``, ``tables/*.md`` and, last, ``report.html`` into ``folder``.

    ``shared`` is what :func:`draw_shared` made; without it, it is made here. What the trial did not get to is left out
    and named on the page. A figure or a table that fails costs one call of ``on_warning`` and nothing else. Safe in a
    background thread. Raises StorageError if the folder cannot be written.
    """
    shared = _make(material, on_warning, shared=True) if shared is None else shared
    own = _make(material, on_warning, shared=False)
    figures, made, absent = own.figures | shared.figures, own.tables | shared.tables, own.absent | shared.absent
    titles = [entry.title for entry in TABLES]
    try:
        _write(
            material,
            folder,
            [figures[name] for name in FIGURES if name in figures],
            [made[title] for title in titles if title in made],
            [absent[key] for key in (*FIGURES, *titles) if key in absent],
        )
    except OSError as problem:
        raise StorageError(f"{folder}: the report cannot be written: {problem.strerror}") from problem


def _make(material: Material, on_warning: Callable[[str], None], shared: bool) -> Made:
    """Every figure and table that is ``shared``, or every one that is not."""
    found = Made()
    for name, entry in FIGURES.items():
        if entry.shared != shared:
            continue
        if reason := _missing(material, entry.needs):
            found.absent[name] = f"{entry.title}: {reason}."
            continue
        try:
            found.figures[name] = Picture(name, entry.title, entry.caption, to_png(entry.draw(material)))
        except Exception as problem:
            on_warning(f"figure {name} could not be drawn: {in_one_line(problem)}")
            found.absent[name] = f"{entry.title}: it could not be drawn."
    for table in TABLES:
        if table.shared != shared:
            continue
        if reason := _missing(material, table.needs):
            found.absent[table.title] = f"Table, {table.title}: {reason}."
            continue
        try:
            found.tables[table.title] = table.make(material)
        except Exception as problem:
            on_warning(f"table {table.title} could not be made: {in_one_line(problem)}")
            found.absent[table.title] = f"Table, {table.title}: it could not be made."
    return found


def _write(
    material: Material, folder: Path, pictures: Sequence[Picture], made: Sequence[Table], absent: Sequence[str]
) -> None:
    for picture in pictures:
        write_atomically(folder / "figures" / f"{picture.name}.png", picture.write)
    for table in made:
        write_text(folder / "tables" / f"{table.name}.csv", table.to_csv())
        write_text(folder / "tables" / f"{table.name}.md", table.to_markdown())
    write_text(folder / REPORT, write_page(material, pictures, made, absent))


def _missing(material: Material, needs: tuple[str, ...]) -> str:
    """Why something cannot be made; empty if it can."""
    return next((ABSENT[need] for need in needs if getattr(material, need) is None), "")
