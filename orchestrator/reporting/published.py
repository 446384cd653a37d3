"""A published curve, to be drawn next to the trial's own."""

import csv
from pathlib import Path

from orchestrator.errors import RequestError


def read_curve(path: Path) -> list[tuple[int, float]]:
    """(epoch, test accuracy as a fraction) of a CSV with the columns ``epoch`` and ``test_accuracy`` (percent).

    Raises RequestError naming the file and line if it is anything else.
    """
    points = []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), start=2):
                try:
                    points.append((int(row["epoch"]), float(row["test_accuracy"]) / 100))
                except (KeyError, ValueError, TypeError) as problem:
                    raise RequestError(f"{path}, line {number}: needs epoch and test_accuracy ({problem})") from problem
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise RequestError(f"{path}: cannot be read as a published curve: {problem}") from problem
    return points
