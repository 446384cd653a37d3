"""What the system says of a path that a user has given, wherever it is met, as an error without a traceback."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import StorageError

# No access, or no such path can be; not that something is missing, which is told where it is looked for.
_OF_PATHS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
)


@contextmanager
def paths_named() -> Iterator[None]:
    """Raise StorageError for a path that may not be used. What a network's own code raises stays as it is."""
    try:
        yield
    except OSError as problem:
        from orchestrator.architectures.crash import place

        if problem.errno not in _OF_PATHS or problem.filename is None or place(problem):
            raise
        raise StorageError(f"{problem.filename} cannot be read or written: {problem.strerror}") from problem
