"""The one console that prints for people: text is shown as it is, whatever a user has called a variant or a file."""

from typing import IO

from rich.console import Console

from orchestrator.files import discard


def plain_console(file: IO[str] | None = None) -> Console:
    """A console on ``file`` (default: stdout) that reads no markup (``net[red]``) and no emoji (``:cat:``) in text.

    Styles are given beside the text, not in it. When nobody reads its output any more it goes quiet: a launch goes on.
    """
    return _Console(file=file, markup=False, emoji=False, highlight=False)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Only go quiet; rich would end the process."""
        self.quiet = True
        discard(self.file)
