"""What the commands that run a launch print: progress, and its result as tables or as one JSON document."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.cli.tables import print_result
from orchestrator.cluster.events import EventWriter
from orchestrator.records import Listener, Outcome
from orchestrator.reporting.console import plain_console
from orchestrator.workflow.display import Terminal
from orchestrator.workflow.results import Results


class Show(Terminal):
    """A console for people, and ``events`` for programs that follow this process from another machine.

    With ``as_json`` stdout is reserved for the document.
    """

    def __init__(self, as_json: bool, quiet: bool, events: bool = False) -> None:
        super().__init__(plain_console(file=sys.stderr if as_json else sys.stdout), quiet)
        self.as_json = as_json
        self.events = EventWriter() if events else None

    def begins(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome]) -> None:
        """Send the plan to those who follow from another machine."""
        if self.events is not None:
            self.events.begin(trials, epochs, ended)

    @contextmanager
    def training(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome]) -> Iterator[Sequence[Listener]]:
        """The table or the lines, and the events."""
        with super().training(trials, epochs, ended) as listeners:
            yield listeners if self.events is None else (*listeners, self.events)

    def result(self, result: Results) -> None:
        """The tables and the verdict, or the document."""
        if self.events is not None:
            self.events.result(result.to_dict())
        print_result(result, self.as_json)
