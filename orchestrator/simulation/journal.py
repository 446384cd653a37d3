"""What a simulated launch has on disk: what survives when the process that decides is killed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.files import append_line
from orchestrator.records import Status
from orchestrator.scheduling.decisions import Decision, append, read_log
from orchestrator.scheduling.launch_folder import RUNGS, SUGGESTIONS


class Epoch(NamedTuple):
    """What a worker tells of one epoch of a trial; accuracies are fractions."""

    trial: str
    epoch: int  # 0: the trial has been started
    seconds: float
    validation: float
    test: float | None = None  # measured after the last epoch


class Journal:
    """The files of one simulated launch in ``folder``: a real launch's own logs, and short forms of the other files.

    ``survive`` is called before and after each write of the deciding process, and may end it there by an exception.
    """

    def __init__(self, folder: Path, survive: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self.suggestions = folder / SUGGESTIONS  # written by the search itself
        self.survive = survive

    def decisions(self) -> list[Decision]:
        """What the stop rule has decided, in order."""
        return read_log(self.folder / RUNGS)

    def decide(self, decision: Decision) -> None:
        """Keep a decision."""
        self.survive()
        append(self.folder / RUNGS, decision)
        self.survive()

    def plan(self) -> list[str]:
        """The names of the trials in the order in which they became known."""
        return [name for batch in self._read("plan.jsonl") for name in batch]

    def grow(self, names: list[str]) -> None:
        """Keep that these trials have become known, all at once."""
        self._write("plan.jsonl", names)

    def ends(self) -> dict[str, Status]:
        """How trials have ended, in the order in which they did."""
        return {name: Status(status) for name, status in self._read("ends.jsonl")}

    def end(self, name: str, status: Status) -> None:
        """Keep how a trial has ended."""
        self._write("ends.jsonl", [name, status])

    def epochs(self) -> list[Epoch]:
        """What workers have recorded."""
        return [Epoch(*entries) for entries in self._read("records.jsonl")]

    def record(self, epoch: Epoch) -> None:
        """Keep an epoch; this is the worker's own, and no kill of the deciding process comes between."""
        append_line(self.folder / "records.jsonl", json.dumps(epoch))

    def _read(self, file: str) -> list[Any]:
        path = self.folder / file
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def _write(self, file: str, line: list[Any]) -> None:
        self.survive()
        append_line(self.folder / file, json.dumps(line))
        self.survive()
