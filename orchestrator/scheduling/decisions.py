"""The log of a stop rule's decisions, by which they outlive a process: a resumed launch decides nothing twice."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.files import append_line, storage_named


@dataclass(frozen=True)
class Decision:
    """What was decided of one trial after one epoch."""

    name: str
    epoch: int
    value: float  # what it was judged by, for which more is better: validation accuracy, a fraction
    stopped: bool


def read_log(log: Path) -> list[Decision]:
    """Every decision in ``log``, in order; of several about one trial and epoch the first, which was obeyed.

    Raises StorageError if it cannot be read.
    """
    decisions: dict[tuple[str, int], Decision] = {}
    with storage_named(log):
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    for line in lines:
        try:
            name, epoch, value, stopped = json.loads(line)
        except ValueError:
            continue  # the driver was killed while it wrote this line, and its decision was never carried out
        decision = Decision(str(name), int(epoch), float(value), bool(stopped))
        decisions.setdefault((decision.name, decision.epoch), decision)
    return list(decisions.values())


def append(log: Path, decision: Decision) -> None:
    """Write ``decision`` at the end of ``log``, on a line of its own; it is on disk when this returns.

    Raises StorageError or DiskFullError if it cannot be written.
    """
    line = json.dumps([decision.name, decision.epoch, decision.value, decision.stopped])
    with storage_named(log):
        append_line(log, "\n" + line if _cut_off(log) else line)


def stopped(decisions: Iterable[Decision]) -> dict[str, int]:
    """The epoch at which each stopped trial was stopped, by name."""
    ended: dict[str, int] = {}
    for decision in decisions:
        if decision.stopped:
            ended.setdefault(decision.name, decision.epoch)
    return ended


def _cut_off(log: Path) -> bool:
    """Whether the log ends within a line, since a driver was killed while it wrote it."""
    if not log.exists() or not log.stat().st_size:
        return False
    with log.open("rb") as content:
        content.seek(-1, 2)
        return content.read(1) != b"\n"
