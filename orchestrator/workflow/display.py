"""How a launch reports its progress: through a display that the caller passes in; the launch itself prints nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestrator.records import Listener, Outcome
from orchestrator.redact import redact
from orchestrator.reporting.console import plain_console

if TYPE_CHECKING:
    from orchestrator.workflow.results import Results


class Display:
    """Shows nothing; subclasses override what they show."""

    def log(self, line: str) -> None:
        """One line about what is happening."""

    @contextmanager
    def waiting(self, what: str) -> Iterator[Callable[[str], None]]:
        """While the block runs, ``what`` is being waited for; call what is yielded to change the description."""
        yield lambda _: None

    def begins(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome]) -> None:
        """Trials of ``epochs`` epochs are about to train; some have ended in an earlier attempt."""

    @contextmanager
    def training(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome]) -> Iterator[Sequence[Listener]]:
        """While the block runs, trials train; the yielded listeners are called for every epoch and end."""
        yield ()

    def result(self, result: "Results") -> None:
        """The verdict is known; the last reports may not be finished yet."""


class Terminal(Display):
    """A live table on a terminal or in a notebook, and lines elsewhere. ``quiet``: failures only."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or plain_console()
        self.quiet = quiet

    def log(self, line: str) -> None:
        """One line, as it is but for secrets."""
        if not self.quiet:
            self.console.print(redact(line), markup=False, emoji=False, highlight=False, soft_wrap=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[Callable[[str], None]]:
        """A spinner and a clock, on a terminal."""
        if self.quiet or not (self.console.is_terminal or self.console.is_jupyter):
            yield lambda _: None
            return
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(redact(what), total=None)
            yield lambda said: progress.update(task, description=redact(said))

    @contextmanager
    def training(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome]) -> Iterator[Sequence[Listener]]:
        """A table with one row per trial."""
        from orchestrator.reporting.terminal import View

        with View(trials, epochs, self.console, self.quiet, ended) as view:
            yield (view,)
