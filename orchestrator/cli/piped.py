"""Output that is no terminal: lines without blanks at their end, with which tables fill their last column."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_BLANKS = re.compile(r"[ \t]+(?=\n)")


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
