"""A published curve, to be drawn next to the trial's own."""

import csv
import math
from pathlib import Path

from orchestrator.errors import RequestError

COLUMNS = ("epoch", "test_accuracy")


def read_curve(path: Path) -> list[tuple[int, float]]:
    """(epoch, test accuracy as a fraction) of a CSV with the columns ``epoch`` and ``test_accuracy`` (percent).

    Raises RequestError naming the file and line if it is anything else.
    """
    points = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:  # Excel begins a file with a byte order mark
            rows = csv.DictReader(lines)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise RequestError(
                    f"{path}: needs the columns epoch and test_accuracy, separated by commas; its first line is "
                    f"{','.join(rows.fieldnames or ())[:80]!r}"
                )
            for number, row in enumerate(rows, start=2):
                try:
                    points.append((int(row["epoch"]), _fraction(row["test_accuracy"])))
                except (ValueError, TypeError) as problem:
                    raise RequestError(f"{path}, line {number}: needs epoch and test_accuracy ({problem})") from problem
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise RequestError(f"{path}: cannot be read as a published curve: {problem}") from problem
    if not points:
        raise RequestError(f"{path}: has no line with an epoch and its test_accuracy")
    return points


def _fraction(percent: str) -> float:
    if not math.isfinite(value := float(percent)):
        raise ValueError(f"{percent} is not a finite number")
    return value / 100
