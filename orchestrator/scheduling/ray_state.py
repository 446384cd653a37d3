"""What Ray keeps in a process: at most one session, and settings of its first one, which are read again."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import ResourceError

_ours = threading.Lock()  # held for the length of a session of ours


@contextmanager
def sole_session() -> Iterator[None]:
    """A session of ours belongs in here; after it Ray follows the environment again, as a user's own session needs.

    Raises ResourceError if this process is connected to Ray: a second ``ray.init`` fails, and to shut Ray down after
    that would end the first session.
    """
    refuse_if_connected()
    if not _ours.acquire(blocking=False):
        raise _connected("by another call of this package, in another thread; call again when that has ended")
    try:
        yield
    finally:
        try:
            if "ray" in sys.modules:
                read_again(sys.modules["ray"])
        finally:
            _ours.release()


def refuse_if_connected() -> None:
    """Raise ResourceError if this process is connected to Ray, by the user or by another thread."""
    if _ours.locked():
        raise _connected("by another call of this package, in another thread; call again when that has ended")
    connected = getattr(sys.modules.get("ray"), "is_initialized", None)
    if connected is not None and connected():
        raise _connected("by a ray.init() of yours; call ray.shutdown() first, or use another process")


def _connected(how: str) -> ResourceError:
    return ResourceError(f"this process is already connected to Ray, {how}")


def read_again(ray: Any) -> None:
    """Have Ray read the environment as it is now: it keeps what this process's first session, of any kind, had.

    That is whether a token is required, the token, and the choice between a machine's own address and loopback.
    """
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
    constants = ray._private.ray_constants
    constants.ENABLE_RAY_CLUSTER = constants.env_bool(
        constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not constants.IS_WINDOWS_OR_OSX
    )
