"""How the commands that run a launch talk to their user."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestrator.cluster.events import EventWriter


@dataclass(frozen=True)
class Show:
    """A console for people, and events for those who follow this process from elsewhere."""

    console: Console
    quiet: bool
    as_json: bool
    debug: bool
    events: EventWriter | None = None

    @classmethod
    def of(cls, as_json: bool, quiet: bool, debug: bool, events: bool) -> "Show":
        """With ``as_json`` stdout is left to the document."""
        console = Console(file=sys.stderr if as_json else sys.stdout)
        return cls(console, quiet, as_json, debug, EventWriter() if events else None)

    def say(self, line: str) -> None:
        """One line, as it is."""
        if not self.quiet:
            self.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[Callable[[str], None]]:
        """On a screen, while the block runs: what is waited for, and for how long; what is yielded says it anew."""
        if self.quiet or not self.console.is_terminal:
            yield lambda _: None
            return
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda said: progress.update(task, description=said)
