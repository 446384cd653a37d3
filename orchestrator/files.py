"""Files that are whole or absent: written beside, synced, renamed; a full disk leaves what was there before."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from orchestrator.errors import DiskFullError, RequestError, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it
PARTIAL = ".partial"  # how the names of files end that are still being written
_synced: ContextVar[bool] = ContextVar("synced", default=True)
_discarded: set[int] = set()  # the descriptors of streams whose readers are gone


def from_user(given: str | os.PathLike[str]) -> Path:
    """The path that a user has written, with ``~`` for a home folder: a shell replaces it only where a word begins.

    Raises RequestError if it cannot be one.
    """
    if "\0" in os.fspath(given):
        raise RequestError(f"{os.fspath(given)!r}: a path must not contain NUL")
    return Path(os.path.expanduser(given))  # noqa: PTH111  (pathlib's raises for a user that there is not)


def discard(stream: IO[str]) -> None:
    """Let what is written to ``stream`` from now on, and what it still holds, go nowhere: its reader is gone."""
    with suppress(OSError, ValueError):  # it has no file, or is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        _discarded.add(stream.fileno())


def was_discarded(stream: IO[str]) -> bool:
    """Whether :func:`discard` was called for the file of ``stream``."""
    with suppress(OSError, ValueError):
        return stream.fileno() in _discarded
    return False


@contextmanager
def unsynced() -> Iterator[None]:
    """What is written meanwhile is whole or absent to every reader, but not made to survive a power cut.

    For a folder that is thrown away, such as a scratch folder whose copy elsewhere is synced by :func:`sync_folder`.
    """
    token = _synced.set(False)
    try:
        yield
    finally:
        _synced.reset(token)


def sync_folder(path: Path) -> None:
    """Make every file below ``path``, and its name, survive a power cut."""
    for folder, _, files in os.walk(path):
        for name in (*files, "."):
            sync(Path(folder) / name)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(partial_path)``, sync and rename: a reader sees the old file or the new one, never a half.

    Raises DiskFullError if there is no room; the old file is then as it was.
    """
    with disk_full_named(path):
        _write_atomically(path, write)


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        if _synced.get():
            sync(partial)
        partial.chmod(0o644)  # mkstemp makes it private
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if _synced.get():
        sync(path.parent)  # the rename itself must survive a power cut


def link_folder(source: Path, target: Path, linked: str, ignored: str) -> None:
    """Make ``target`` hold the files of ``source`` but those called ``ignored``; nothing is synced.

    Files whose names end in ``linked`` are replaced and never written into, so that a hard link will do, where the
    file system has them; all others are copied.
    """
    for folder, _, names in os.walk(source):
        made = target / Path(folder).relative_to(source)
        made.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name != ignored and not name.endswith(PARTIAL):
                _link_or_copy(Path(folder) / name, made / name, link=name.endswith(linked))


def _link_or_copy(source: Path, target: Path, link: bool) -> None:
    if link:
        with suppress(OSError):  # another file system, or one without links
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(partial_path)`` and rename: the folder ``path`` is whole or absent, and replaces one of that name.

    What a killed process left half-written beside it is removed.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write(partial)
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, plain: Any) -> None:
    """Write a JSON document atomically, indented for people."""
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one line and sync it: after this returns, the line survives a kill and a power cut.

    Raises DiskFullError if there is no room; the file then ends where it ended before.
    """
    with disk_full_named(path), path.open("ab", buffering=0) as log:
        before = log.tell()
        try:
            content = (line + "\n").encode()
            if log.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if _synced.get():
                os.fsync(log.fileno())
        except OSError:
            log.truncate(before)
            raise


@contextmanager
def storage_named(path: Path) -> Iterator[None]:
    """Turn what the system says of the storage into StorageError, or DiskFullError, that says where.

    For what a launch keeps of itself, so that whoever runs it is told, whichever part of it was the one to notice.
    """
    try:
        with disk_full_named(path):
            yield
    except OSError as problem:  # a server of files that is away, say, or a folder that has been taken away
        raise StorageError(f"{path} cannot be read or written: {problem.strerror or problem}") from problem


@contextmanager
def locked(file: Path, taken: str, remedy: str) -> Iterator[None]:
    """Hold ``file`` as a lock inside this block.

    Raises StorageError: with the message ``taken`` if another process holds it, with ``remedy`` if it cannot be locked.
    """
    from filelock import FileLock, Timeout  # not at the top: workers that share a GPU need torch alone

    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout as problem:
        raise StorageError(taken) from problem
    except OSError as problem:
        reason = problem.strerror or problem
        raise StorageError(f"{file} cannot be opened and locked: {reason}; {remedy}") from problem
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Turn the system's "no space left" into an error that says where, and what to do."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        free = shutil.disk_usage(next(p for p in (path, *path.absolute().parents) if p.exists())).free
        raise DiskFullError(
            f"no space left to write {path} ({free / 1e6:,.1f} MB free): remove old launches or their checkpoints "
            "(checkpoints/last.pt and previous.pt of complete trials are not needed), then resume"
        ) from problem
