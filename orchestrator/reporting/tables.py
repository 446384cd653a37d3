"""The tables of one trial: rows of plain values, written as CSV for programs and Markdown for people."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.reporting.material import Material
from orchestrator.reporting.measures import class_counts, precision_recall_f1, wilson_interval

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """``columns`` are the names of the values in ``rows``; fractions stay fractions, None is empty."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]

    def to_csv(self) -> str:
        """Comma-separated, with a header, every digit kept."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """A Markdown table under a heading; numbers are aligned to the right."""
        numeric = [any(isinstance(row[i], (int, float)) for row in self.rows) for i in range(len(self.columns))]
        lines = [
            _line(self.columns),
            _line(["---:" if number else "---" for number in numeric]),
            *(_line([_escaped(shown(cell)) for cell in row]) for row in self.rows),
        ]
        return f"## {self.title}\n\n" + "\n".join(lines) + "\n"


def shown(cell: Cell) -> str:
    """One value for display: four decimals, thousands separators, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def millions(count: int | None) -> str:
    """``45,300,000`` as ``45.30 M``."""
    return "unknown" if count is None else f"{count / 1e6:,.2f} M"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text that neither ends a Markdown cell nor opens an HTML tag."""
    for character, harmless in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, harmless)
    return text


def classification_report(material: Material) -> Table:
    """Precision, recall, F1 and support of each class, their averages and the accuracy, as scikit-learn reports them.

    The macro average counts every class equally, the weighted one by its images.
    """
    count = len(material.classes)
    scores = precision_recall_f1(material.labels, material.predicted, count)
    support = np.bincount(material.labels, minlength=count)
    rows: list[list[Cell]] = [
        [name, *scores[position].tolist(), int(support[position])] for position, name in enumerate(material.classes)
    ]
    total = len(material.labels)
    rows.append(["macro avg", *scores.mean(axis=0).tolist(), total])
    rows.append(["weighted avg", *np.average(scores, axis=0, weights=support).tolist(), total])
    rows.append(["accuracy", None, None, float(material.correct.mean()), total])
    columns = ("class", "precision", "recall", "F1", "pictures")
    return Table("classification_report", "Classification report", columns, rows)


def class_accuracy(material: Material) -> Table:
    """Accuracy of each class with its 95 % Wilson interval, as fractions; empty for a class without test images."""
    rows: list[list[Cell]] = []
    right, true, _ = class_counts(material.labels, material.predicted, len(material.classes))
    for name, hits, support in zip(material.classes, right.tolist(), true.tolist(), strict=True):
        low, high = wilson_interval(hits, support)
        rows.append([name, support, hits, *((hits / support, low, high) if support else (None, None, None))])
    columns = ("class", "pictures", "right", "accuracy", "lower 95 %", "upper 95 %")
    return Table("class_accuracy", "Accuracy of each class", columns, rows)
