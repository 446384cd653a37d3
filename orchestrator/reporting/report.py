"""The report of one trial: figures, tables and one page, as far as the trial got."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.files import write_atomically, write_text
from orchestrator.reporting import network_tables, tables
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.figures import FIGURES
from orchestrator.reporting.html import FigureImage
from orchestrator.reporting.page import write_page
from orchestrator.reporting.parts import ReportParts
from orchestrator.reporting.tables import Content, Table
from orchestrator.text import in_one_line


@dataclass(frozen=True)
class TableEntry:
    """A table that can be made if the context has everything in ``needs``."""

    title: str
    build: Callable[[ReportContext], Content]
    needs: tuple[str, ...]
    shared: bool = False  # the same for all trials of a variant in one launch

    def make(self, name: str, context: ReportContext) -> Table:
        """The table, for the file ``name``."""
        return Table(name, self.title, *self.build(context))


# By the name of the file. To add a table, write a function from a context to columns and rows, and an entry here.
TABLES = {
    "classification_report": TableEntry("Classification report", tables.classification_report, ("logits",)),
    "class_accuracy": TableEntry("Accuracy of each class", tables.class_accuracy, ("logits",)),
    "metrics": TableEntry("Metrics of each epoch", tables.metrics, ()),
    "layers": TableEntry("Layers", network_tables.layers, ("analysis",), shared=True),
    "receptive_field": TableEntry("Receptive field", network_tables.receptive_field, ("analysis",), shared=True),
}
REPORT = "report.html"  # written last: if it exists, the report is complete
ABSENT = {
    "logits": "the trial was not evaluated on the test split",
    "network": "the trial has no saved weights",
    "analysis": "the network was not analysed",
    "augmentation": "the trial has no augmentation",
}


def draw_shared(context: ReportContext, on_warning: Callable[[str], None]) -> ReportParts:
    """What all trials of the context's variant share in one launch: drawn once, and passed to :func:`render_report`.

    Depends on the variant's analysis and the dataset, not on the trial. Each failure costs one call of ``on_warning``.
    """
    return _make(context, on_warning, shared=True)


def render_report(
    context: ReportContext, folder: Path, on_warning: Callable[[str], None], shared: ReportParts | None = None
) -> None:
    """Write ``figures/*.png``, ``tables/*.csv``, ``tables/*.md`` and, last, ``report.html`` into ``folder``.

    ``shared`` is what :func:`draw_shared` made; without it, it is made here. What the trial did not get to is left out
    and named on the page. A figure or a table that fails costs one call of ``on_warning`` and nothing else. Safe in a
    background thread. Raises StorageError if the folder cannot be written.
    """
    shared = _make(context, on_warning, shared=True) if shared is None else shared
    own = _make(context, on_warning, shared=False)
    figures, made, absent = own.figures | shared.figures, own.tables | shared.tables, own.absent | shared.absent
    order = [*(f"figure {name}" for name in FIGURES), *(f"table {name}" for name in TABLES)]
    try:
        _write(
            context,
            folder,
            [figures[name] for name in FIGURES if name in figures],
            [made[name] for name in TABLES if name in made],
            [absent[name] for name in order if name in absent],
        )
    except OSError as problem:
        raise StorageError(f"{folder}: the report cannot be written: {problem.strerror}") from problem


def _make(context: ReportContext, on_warning: Callable[[str], None], shared: bool) -> ReportParts:
    """Every figure and table that is ``shared``, or every one that is not."""
    parts = ReportParts()
    every: list[tuple[str, str, Any, dict[str, Any]]] = [
        *(("figure", name, entry, parts.figures) for name, entry in FIGURES.items()),
        *(("table", name, entry, parts.tables) for name, entry in TABLES.items()),
    ]
    for kind, name, entry, made in every:
        if entry.shared != shared:
            continue
        if (lacking := next((need for need in entry.needs if getattr(context, need) is None), None)) is not None:
            parts.absent[f"{kind} {name}"] = f"{entry.title} ({kind}): {ABSENT[lacking]}."
            continue
        try:
            made[name] = entry.make(name, context)
        except Exception as problem:
            on_warning(f"{kind} {name} could not be made: {in_one_line(problem)}")
            parts.absent[f"{kind} {name}"] = f"{entry.title} ({kind}): it could not be made."
    return parts


def _write(
    context: ReportContext, folder: Path, images: Sequence[FigureImage], made: Sequence[Table], absent: Sequence[str]
) -> None:
    for image in images:
        write_atomically(folder / "figures" / f"{image.name}.png", image.write)
    for table in made:
        write_text(folder / "tables" / f"{table.name}.csv", table.to_csv())
        write_text(folder / "tables" / f"{table.name}.md", table.to_markdown())
    _remove_earlier(folder / "figures", FIGURES, (".png",), [image.name for image in images])
    _remove_earlier(folder / "tables", TABLES, (".csv", ".md"), [table.name for table in made])
    write_text(folder / REPORT, write_page(context, images, made, absent))


def _remove_earlier(folder: Path, every: Iterable[str], suffixes: Sequence[str], made: Sequence[str]) -> None:
    """Remove what an earlier report has left in ``folder`` and this one does not have; nothing else is ours."""
    for path in (folder / f"{name}{suffix}" for name in every if name not in made for suffix in suffixes):
        if path.is_file():
            path.unlink()
