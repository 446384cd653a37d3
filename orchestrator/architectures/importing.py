"""Run a user's code on import: found from the current folder, its output not among ours, torch's settings untouched."""

import contextlib
import io
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_output = threading.RLock()  # whoever holds it has redirected what the process prints
_counting = threading.Lock()
_inserted: Counter[str] = Counter()  # how many need each folder that is in sys.path for them only


@contextmanager
def importable() -> Iterator[None]:
    """Modules in the current folder can be imported, as ``python -m`` has it and an installed command does not."""
    here = str(Path.cwd())
    with _counting:
        ours = _inserted[here] > 0 or not {here, ""} & set(sys.path)
        if ours:
            _inserted[here] += 1
            if _inserted[here] == 1:
                sys.path.insert(0, here)
    try:
        yield
    finally:
        with _counting:
            if ours:
                _inserted[here] -= 1
                if not _inserted[here]:
                    with contextlib.suppress(ValueError):  # whatever was imported has removed it
                        sys.path.remove(here)


@contextmanager
def apart() -> Iterator[None]:
    """What a user's code does to the process ends with this block: its output, and torch's global settings.

    What is printed goes to stderr, and nowhere if this ends with an exception, which says what is wrong.
    """
    from orchestrator.architectures.torch_settings import settings_kept  # names are checked without torch

    with settings_kept(), _output_apart():
        yield


@contextmanager
def _output_apart() -> Iterator[None]:
    """Only one thread at a time can redirect it; what others print meanwhile is treated alike, and none waits."""
    if not _output.acquire(blocking=False):
        yield
        return
    try:
        printed, stderr = io.StringIO(), sys.stderr
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
        if text := printed.getvalue():
            stderr.write(text)
    finally:
        _output.release()
