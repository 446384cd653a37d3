"""Read a measured curve from a CSV file: epochs and accuracies in percent, strictly."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RequestError
from orchestrator.text import listed

COLUMNS = "epoch", "test_accuracy"


@dataclass(frozen=True)
class CurveFile:
    """The content of a file: accuracies (percent) by epoch, which is not empty, in order."""

    path: Path
    percent: Mapping[int, float]

    def to(self, epochs: int, others: tuple[str, ...] = ()) -> NDArray[np.float64]:
        """Accuracies (fractions) of the epochs 1 to ``epochs``, linear between those in the file.

        Raises RequestError if the file begins later or ends earlier; ``others`` are the variants that may be simulated
        without this one.
        """
        first, last = min(self.percent), max(self.percent)
        leave_out = f'--set "variants=[{", ".join(others)}]"' if others else ""
        advice = []
        if first > 1:
            advice.append(f"add {'epoch 1' if first == 2 else f'epochs 1 to {first - 1}'} to the file")
        elif last < epochs:
            advice.append(f"simulate fewer epochs (--set trainer.epochs={last})")
        if advice:
            ways = " or ".join([*advice, *[f"leave the variant out ({leave_out})"] * bool(others)])
            raise RequestError(
                f"{self.path}: has epochs {first} to {last}, but epochs 1 to {epochs} are simulated; {ways}"
            )
        return np.interp(np.arange(1, epochs + 1), list(self.percent), list(self.percent.values())) / 100

    def gaps(self, epochs: int) -> str | None:
        """A line about the epochs up to ``epochs`` that are not in the file; None if all are."""
        lacking = [str(epoch) for epoch in range(1, epochs + 1) if epoch not in self.percent]
        if not lacking:
            return None
        word = "epoch" if len(lacking) == 1 else "epochs"
        return f"{self.path.name}: {word} {listed(lacking)} not in the file, interpolated between the nearest ones"


def read_csv(path: Path) -> CurveFile:
    """The curve in a CSV with the columns ``epoch`` and ``test_accuracy`` (percent); others are ignored.

    Raises RequestError naming the file and the line that cannot be used.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines)
            names = [name.strip() for name in table.fieldnames or ()]
            if lacking := [name for name in COLUMNS if name not in names]:
                has = listed(names) if names else "no columns"
                raise RequestError(
                    f"{path}: needs the columns epoch and test_accuracy; no {' and no '.join(lacking)} among {has}"
                )
            table.fieldnames = names
            rows = [(number, row) for number, row in enumerate(table, start=2) if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise RequestError(f"{path}: cannot be read as a curve: {problem}") from problem
    percent: dict[int, float] = {}
    for number, row in rows:
        epoch, accuracy = _row(f"{path}, line {number}", row)
        if epoch in percent:
            raise RequestError(f"{path}, line {number}: epoch {epoch} is there twice")
        percent[epoch] = accuracy
    if not percent:
        raise RequestError(f"{path}: holds no epoch")
    if max(percent.values()) <= 1:
        raise RequestError(
            f"{path}: test_accuracy is at most {max(percent.values()):g}, but percent are expected: multiply fractions "
            "by 100 (93.5, not 0.935)"
        )
    return CurveFile(path, dict(sorted(percent.items())))


def _row(where: str, row: Mapping[str, str | None]) -> tuple[int, float]:
    epoch, accuracy = (row[name] for name in COLUMNS)
    try:
        found = int(epoch or ""), float(accuracy or "")
    except ValueError:
        raise RequestError(
            f"{where}: epoch must be a whole number and test_accuracy a number, not {epoch!r} and {accuracy!r}"
        ) from None
    if found[0] < 1:
        raise RequestError(f"{where}: epoch must be at least 1, not {found[0]}")
    if not (math.isfinite(found[1]) and 0 <= found[1] <= 100):
        raise RequestError(f"{where}: test_accuracy must be from 0 to 100 (percent), not {accuracy}")
    return found
