"""Where a Ray of our own keeps its temporary files: where the user says, else in a short folder that ends with it."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.errors import ResourceError

ASKED = ("RAY_TMPDIR", "TMPDIR")  # variables that Ray reads, in its order; the first is about Ray alone
BASES = ("/tmp", "/var/tmp")  # for a folder of our own, where TMPDIR does not name one that will do: short paths
PREFIX = "orc-ray-"  # of the folder's name, short for the path of a socket; the rest is random
INSIDE = "ray"  # in it, since Ray lets everybody write where it keeps its files
LOCK = "lock"  # a file in it that a living session holds
FRESH = 60.0  # seconds for which a folder without a lock may be about to get one
# What Ray adds to the folder, at most, and the longest path of a socket in bytes: sun_path without its last NUL.
SOCKET = "/session_2026-11-30_12-57-37_123456_4194304/sockets/plasma_store"
LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
LONGEST_FOLDER = LONGEST_SOCKET - len(SOCKET) - len(INSIDE) - 1


@dataclass
class RayFolder:
    """Where Ray keeps its files; ``keep`` leaves a folder of our own to be read, until another session starts."""

    path: Path
    keep: bool = False


def choose(variables: Mapping[str, str] = os.environ) -> tuple[Path, bool]:
    """Ray's folder, which RAY_TMPDIR names, or the folder in which to make one, and whether to make one.

    TMPDIR is for all programs, and others may use it too: in it we make a folder of our own. Raises ResourceError if
    RAY_TMPDIR, or every place there is, cannot be used.
    """
    alone, general = ASKED
    if asked := variables.get(alone):
        if problem := _problem(asked):
            raise ResourceError(f"Ray cannot keep its temporary files in {alone}: {problem}; {_advice('or unset it')}")
        return Path(asked) / INSIDE, False
    problems = []
    for base in dict.fromkeys([*filter(None, [variables.get(general)]), *BASES]):
        if (problem := _problem(base, make=True)) is None:
            return Path(base), True
        problems.append(problem)
    raise ResourceError(f"Ray has no folder for its temporary files: {'; '.join(problems)}; {_advice()}")


@contextmanager
def ray_folder(debug: bool = False) -> Iterator[RayFolder]:
    """Ray's folder for a session; one of our own is removed at its end, unless ``debug``. Raises ResourceError."""
    place, make = choose()
    if not make:
        yield RayFolder(place)
        return
    _remove_abandoned(place)
    mine, lock = _make(place)
    folder = RayFolder(mine / INSIDE, keep=debug)
    try:
        yield folder
    finally:
        if not folder.keep:
            shutil.rmtree(mine, ignore_errors=True)
        lock.release()


def _make(base: Path) -> tuple[Path, FileLock]:
    """A new folder that only we may use, and its lock, which ends with this process."""
    while True:
        try:
            mine = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            lock = FileLock(mine / LOCK)
            lock.acquire(blocking=False)
        except Timeout:  # somebody has taken it for an abandoned one
            continue
        except OSError as problem:
            raise ResourceError(
                f"Ray has no folder for its temporary files: {base}: {problem.strerror}; {_advice()}"
            ) from problem
        return mine, lock


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of this user's sessions whose processes were killed."""
    for path in base.glob(f"{PREFIX}????????"):
        with suppress(OSError, Timeout):
            known, file = path.lstat(), path / LOCK
            if known.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
                continue
            if not file.exists() and time.time() - known.st_mtime < FRESH:
                continue
            with FileLock(file, blocking=False):
                shutil.rmtree(path, ignore_errors=True)


def _problem(place: str, make: bool = False) -> str | None:
    """Why Ray cannot keep its files in the folder ``place``, or None. ``make``: in a folder that we make there."""
    if not Path(place).is_absolute():
        return f"{place} is no absolute path"
    length, longest = len(os.fsencode(place)), LONGEST_FOLDER - make * len(f"/{PREFIX}12345678")
    if length > longest:
        return f"{place} is too long for the path of a socket: {length} bytes, {longest} may be"
    inside = Path(place) / ("" if make else INSIDE)
    try:
        existing = next(path for path in (inside, *inside.parents) if path.exists())
    except OSError as problem:
        return f"{place}: {problem.strerror}"
    if not existing.is_dir():
        return f"{existing} is a file"
    if make and existing != inside:  # tempfile makes none either
        return f"{place} does not exist"
    if existing == inside and not make and existing.stat().st_uid != os.getuid():
        return f"{existing} belongs to another user"
    return None if os.access(existing, os.W_OK | os.X_OK) else f"you cannot write to {existing}"


def _advice(otherwise: str = "") -> str:
    return " ".join(
        [f"set RAY_TMPDIR to a folder of your own whose path has at most {LONGEST_FOLDER} bytes,", otherwise]
    ).rstrip(" ,")
