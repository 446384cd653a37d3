"""The tables of one trial: rows of plain values, written as CSV for programs and Markdown for people."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.records import by_epoch
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.measures import class_counts, wilson_interval

TINIEST = 1e-300  # smaller numbers say their sign only
Cell = str | int | float | None
Content = tuple[tuple[str, ...], Sequence[Sequence[Cell]]]  # the columns of a table, and its rows


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
        return f"{cell:.4f}" if cell == 0 or abs(cell) >= 5e-5 or math.isnan(cell) else _tiny(cell)
    return f"{cell:,}" if isinstance(cell, int) else cell


def _tiny(value: float) -> str:
    """What four decimals would show as zero and is not; a bound that only excludes zero is no more than that."""
    return f"{value:.1e}" if abs(value) > TINIEST else "> 0" if value > 0 else "< 0"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text that neither ends a Markdown cell nor opens an HTML tag."""
    for character, harmless in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, harmless)
    return text


def classification_report(context: ReportContext) -> Content:
    """Precision, recall, F1 and support of each class, their averages and the accuracy, as scikit-learn defines them.

    The macro average counts every class equally, the weighted one by its images. 0 / 0 is 0.
    """
    from sklearn.metrics import precision_recall_fscore_support  # takes a second to import

    labels, predicted, total = context.labels, context.predicted, len(context.labels)

    def scores(average: str | None) -> list[Any]:
        classes = range(len(context.classes))
        return list(
            precision_recall_fscore_support(labels, predicted, labels=classes, average=average, zero_division=0)
        )

    by_class = zip(context.classes, *(column.tolist() for column in scores(None)), strict=True)
    rows: list[Sequence[Cell]] = list(by_class)
    rows += [[f"{average} avg", *map(float, scores(average)[:3]), total] for average in ("macro", "weighted")]
    rows.append(["accuracy", None, None, float(context.correct.mean()), total])
    columns = ("class", "precision", "recall", "F1", "images")
    return columns, rows


def class_accuracy(context: ReportContext) -> Content:
    """Accuracy of each class with its 95 % Wilson interval, as fractions; empty for a class without test images."""
    rows: list[list[Cell]] = []
    for name, correct, count in zip(context.classes, *class_counts(context), strict=True):
        measured = (correct / count, *wilson_interval(correct, count)) if count else (None, None, None)
        rows.append([name, count, correct, *measured])
    columns = ("class", "images", "correct", "accuracy", "lower 95 %", "upper 95 %")
    return columns, rows


def metrics(context: ReportContext) -> Content:
    """Every metric of every epoch; the last epoch's row has the measurements of the whole trial, too."""
    epochs = by_epoch(context.records)
    names = list(dict.fromkeys(name for measured in epochs.values() for name in measured))
    rows = [[epoch, *map(measured.get, names)] for epoch, measured in epochs.items()]
    return ("epoch", *names), rows
