"""A trial's states are written in a background thread, one at a time, while the training goes on."""

import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

_logger = logging.getLogger(__name__)


class BackgroundWriter:
    """Calls the function that writes an epoch's state, and then ``after``, in a background thread.

    An exception raised there is raised again by the next :meth:`start` or :meth:`wait`. The context manager exits when
    everything is written; an exception of its body takes precedence.
    """

    def __init__(self, after: Callable[[], object] = lambda: None) -> None:
        self._after = after
        self._thread = ThreadPoolExecutor(1, "checkpoint-writer")
        self._writing: Future[None] | None = None

    def start(self, write: Callable[[], object]) -> None:
        """Wait for what is being written, then have ``write`` called; returns at once."""
        self.wait()
        self._writing = self._thread.submit(contextvars.copy_context().run, self._write, write)

    def wait(self) -> None:
        """Return when nothing is being written any more; raises what the writing raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception as problem:  # whatever a full disk or a lost store raises
            if raised is None:
                raise
            _logger.warning("the last state is not kept: %s", problem)
        finally:
            self._thread.shutdown()

    def _write(self, write: Callable[[], object]) -> None:
        write()
        self._after()
