"""A launch on the terminal: a live table if it is interactive, else one line per change of state."""

import heapq
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from orchestrator import records as keys
from orchestrator.records import Outcome, Record
from orchestrator.reporting.states import ENDED, STYLES, state_text, stopped_text
from orchestrator.reporting.terminal_table import FittingTable

CLOCK = "%H:%M:%S"  # before every line about a change of state
_STATE_LINE = re.compile(r"\d\d:\d\d:\d\d [^:]+: ")  # a variant's name may have blanks in it
SPEED_PERIOD = 600.0  # seconds; the remaining time is estimated from the epochs in them
SPARE = ("images/s", "train", "test", "validation")  # columns of a live table that a narrow terminal goes without
MOST_LINES = 40  # of the live table: running trials, and those that changed last


@dataclass
class _Line:
    """One trial, as the live table shows it."""

    state: str = "waiting"
    epoch: int = 0
    first: int = 1  # the epoch at which it started, or was resumed
    metrics: dict[str, float] = field(default_factory=dict)
    best: tuple[float, int] | None = None  # validation accuracy and its epoch
    reason: str = ""
    changed: int = 0  # counts the changes of all lines: the greatest is the newest


class View:
    """A listener that shows a launch of ``trials`` with ``epochs`` epochs each; ``quiet`` shows failures only.

    ``ended`` are those that need not be run: they ended before.
    """

    def __init__(
        self, trials: Sequence[str], epochs: int, console: Console, quiet: bool = False, ended: Sequence[Outcome] = ()
    ) -> None:
        self.console = console
        self.quiet = quiet
        self.epochs = epochs
        self.lines = {trial: _Line() for trial in trials}
        self._places = {trial: place for place, trial in enumerate(trials)}
        self._changes = itertools.count(1)
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("epochs;", markup=False),
            TimeElapsedColumn(),
            TextColumn("elapsed,", markup=False),
            TimeRemainingColumn(),
            TextColumn("left", markup=False),
            console=console,
            speed_estimate_period=SPEED_PERIOD,
        )
        self._task = self._progress.add_task("", total=self.epochs * len(self.lines))
        self._live: Live | None = None
        for outcome in ended:
            self._end(outcome)

    def __enter__(self) -> "View":
        if (self.console.is_terminal or self.console.is_jupyter) and not self.quiet:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __rich__(self) -> Group:
        with self._lock:
            self._advance()
            return Group(self._table(), *self._stopped(), self._progress)

    def on_plan(self, trials: Sequence[str]) -> None:
        """Listener: the plan has grown."""
        with self._lock:
            for trial in trials:
                self._places.setdefault(trial, len(self._places))
                self.lines.setdefault(trial, _Line())

    def on_start(self, trial: str, epoch: int = 1) -> None:
        """Listener: the trial has begun, or is resumed at a later ``epoch``."""
        with self._lock:
            line = self._change(trial, "running")
            line.epoch, line.first = epoch - 1, epoch
        resumed = f"at epoch {epoch}/{self.epochs}" if epoch <= self.epochs else "after its last epoch"
        self._say(f"{trial}: resumed {resumed}" if epoch > 1 else f"{trial}: started")

    def on_record(self, trial: str, record: Record) -> None:
        """Listener: an epoch is done."""
        with self._lock:
            line = self.lines[trial]
            before, line.epoch = record.epoch < line.first, record.epoch
            line.metrics.update(record.metrics)
            if keys.VAL_ACCURACY in record.metrics:
                reached = record.metrics[keys.VAL_ACCURACY], record.epoch
                line.best = reached if line.best is None else max(line.best, reached, key=lambda known: known[0])
        if not record.final:
            goes_on = "resumes after " if before else ""  # what an earlier process had trained is told once more
            self._say(f"{trial}: {goes_on}epoch {record.epoch}/{self.epochs}, {_accuracy(record.metrics)}")

    def on_end(self, outcome: Outcome) -> None:
        """Listener: the trial has ended."""
        line = self._end(outcome)
        measured = line.metrics.get(keys.TEST_ACCURACY)
        result = f", test accuracy {100 * measured:.2f} %" if measured is not None else ""
        state = state_text(str(outcome.status), outcome.reason)
        word, colon, reason = state.partition(":")
        self._say(f"{outcome.trial}: {word}{result}{colon}{reason}", always=outcome.status == "failed")

    def _end(self, outcome: Outcome) -> _Line:
        with self._lock:
            line = self._change(outcome.trial, str(outcome.status))
            line.reason = outcome.reason
            if outcome.status == "complete":
                line.epoch = self.epochs
        return line

    def _say(self, text: str, always: bool = False) -> None:
        if (self._live is None and not self.quiet) or (always and self.quiet):
            self.console.print(
                f"{time.strftime(CLOCK)} {text}", markup=False, highlight=False, emoji=False, soft_wrap=True
            )

    def _change(self, trial: str, state: str) -> _Line:
        line = self.lines[trial]
        line.state, line.changed = state, next(self._changes)
        return line

    def _advance(self) -> None:
        every = self.lines.values()
        total = sum(line.epoch if line.state in ENDED else self.epochs for line in every)  # stopped: none left
        done = sum(line.epoch for line in every)
        self._progress.update(self._task, total=total, completed=done, description=self._counts())

    def _counts(self) -> str:
        counts = Counter(line.state for line in self.lines.values())
        if counts["waiting"] == len(self.lines):
            return "starting workers"
        ended = sum(counts[state] for state in ENDED)
        bad = "".join(f", {counts[state]} {state}" for state in ("interrupted", "failed") if counts[state])
        return f"{ended}/{len(self.lines)} trials{bad}"

    def _stopped(self) -> list[Text]:
        """One line about the trials that were stopped early; their best is known if this process trained them all."""
        stopped = [line for line in self.lines.values() if line.state == "stopped"]
        known = [line.best for line in stopped if line.best is not None]
        best = max(known, key=lambda reached: reached[0]) if known and len(known) == len(stopped) else (None, None)
        return [Text(stopped_text(len(stopped), *best))] if stopped else []

    def _table(self) -> Table:
        table = FittingTable(box=None, pad_edge=False, header_style="bold", spare=SPARE)
        table.add_column("trial", no_wrap=True)
        table.add_numbers("epoch", "train", "validation", "test", "images/s")
        table.add_column("state")
        room = min(MOST_LINES, max(5, self.console.size.height - 6))
        listed = [item for item in self.lines.items() if item[1].state != "stopped"]
        shown = heapq.nlargest(room, listed, key=lambda item: (item[1].state == "running", item[1].changed))
        for trial, line in sorted(shown, key=lambda item: self._places[item[0]]):
            percents = [
                f"{100 * line.metrics[key]:.2f}" if key in line.metrics else ""
                for key in (keys.TRAIN_ACCURACY, keys.VAL_ACCURACY, keys.TEST_ACCURACY)
            ]
            speed = f"{line.metrics[keys.IMAGES_PER_SECOND]:,.0f}" if keys.IMAGES_PER_SECOND in line.metrics else ""
            state = Text(state_text(line.state, line.reason), style=STYLES[line.state])
            table.add_row(Text(trial), f"{line.epoch}/{self.epochs}", *percents, speed, state)
        if hidden := len(listed) - len(shown):
            table.add_row(f"... and {hidden} more", style="dim")
        return table


def is_state_line(text: str) -> bool:
    """Whether ``text`` is a line about a trial from a view without a screen; on a screen the table shows it."""
    return _STATE_LINE.match(text) is not None


def _accuracy(metrics: Mapping[str, float]) -> str:
    known = metrics
    name = keys.VAL_ACCURACY if keys.VAL_ACCURACY in known else keys.TEST_ACCURACY
    which = "validation" if name == keys.VAL_ACCURACY else "test"
    return f"train {100 * known[keys.TRAIN_ACCURACY]:.2f} %, {which} {100 * known[name]:.2f} %"
