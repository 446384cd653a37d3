"""What the caller's process has set and drawn neither changes our work with torch nor is changed by it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.architectures.torch_settings import defaults, put, settings_restored
from orchestrator.training.host_state import random_states_kept

# Settings and random numbers are those of the whole process: of two threads, each would compute with the other's.
_alone = threading.RLock()


@contextmanager
def apart() -> Iterator[None]:
    """Inside this block torch begins with its own defaults; after it, settings and random states are the caller's.

    Only one thread at a time is in such a block; the others wait.
    """
    with _alone, settings_restored():
        put(defaults())
        with random_states_kept():
            yield
