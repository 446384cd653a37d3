"""Output that is no terminal: lines without blanks at their end, and readers that may be gone before the command is."""

import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from orchestrator.files import discard, was_discarded

_BLANKS = re.compile(r"[ \t]+(?=\n)")


def tell(text: str, end: str = "\n", err: bool = True) -> None:
    """Print on stderr, or without ``err`` on stdout; if nobody reads it any more, nowhere."""
    try:
        click.echo(text + end, err=err, nl=False)
    except BrokenPipeError:
        discard(sys.stderr if err else sys.stdout)


def flush(stream: TextIO) -> None:
    """Write what ``stream`` still holds; if nobody reads it any more, nowhere."""
    try:
        if not stream.closed:
            stream.flush()
    except BrokenPipeError:
        discard(stream)


def is_unread() -> bool:
    """Whether nobody reads stdout or stderr any more: it has been found so already, or the pipe says so now."""
    return any(was_discarded(stream) or _has_no_reader(stream) for stream in (sys.stdout, sys.stderr) if stream)


def _has_no_reader(stream: TextIO) -> bool:
    """Asked of the system: an unbuffered stream keeps nothing that a flush could fail with."""
    with suppress(OSError, ValueError):  # it has no file, or is closed
        looked = select.poll()
        looked.register(stream.fileno(), 0)
        return any(state & (select.POLLERR | select.POLLHUP) for _, state in looked.poll(0))
    return False


@contextmanager
def piped_output() -> Iterator[None]:
    """While the block runs, what is printed on stdout ends no line with blanks, unless stdout is a terminal."""
    before = sys.stdout
    if before is None or before.isatty():
        yield
        return
    sys.stdout = _Stripped(before)
    try:
        yield
    finally:
        sys.stdout = before


class _Stripped:
    """A stream of text that keeps blanks back until it is known what follows them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._kept = stream, ""

    def write(self, text: str) -> int:
        whole = _BLANKS.sub("", self._kept + text)
        shown = whole.rstrip(" \t")
        self._kept = whole[len(shown) :]
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
