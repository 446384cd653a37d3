"""Whether the storage works: a write and a read, and on a cluster whether each node sees the others' files.

The functions here are sent to the nodes by value, so that they also run where this package is missing or
another version.
"""

import contextlib
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.doctor.finding import HERE, Finding, Level

PATIENCE = 20.0  # seconds for an object store: pyarrow tries for minutes otherwise
PREFIX = ".doctor-"
MADE = "made"  # lists the folders that did not exist before, so that they can be removed


def check_storage(storage: str) -> Finding:
    """Write, read back and remove a small file in ``storage``, a local folder or a URI that pyarrow knows (s3://)."""
    probe = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    began = time.monotonic()
    problem = write(storage, probe, HERE)
    missing = [] if problem else unseen(storage, probe, [HERE])
    clean(storage, probe)
    return storage_finding(HERE, storage, problem, missing, time.monotonic() - began)


def storage_finding(node: str, storage: str, problem: str, missing: Sequence[str], seconds: float) -> Finding:
    """The finding for ``node``'s storage: ``missing`` are the nodes whose files it does not see."""
    shown = without_options(storage)
    if problem:
        if is_remote(storage):
            advice = "check bucket, region and credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, or an instance role)"
        else:
            advice = "free or mount it, chown it to yourself, or choose another with --storage (ORCHESTRATOR_STORAGE)"
        return Finding(node, "storage", Level.FAILURE, f"{shown}: {problem}", advice)
    if missing:
        advice = "mount one shared folder there on every node, or use --storage s3://bucket/path"
        text = f"{shown}: does not see the files of {', '.join(missing)}"
        return Finding(node, "storage", Level.FAILURE, text, advice)
    return Finding(node, "storage", Level.OK, f"{shown} written and read in {1e3 * seconds:.0f} ms")


def is_remote(storage: str) -> bool:
    """Whether ``storage`` is a URI rather than a folder."""
    return "://" in storage


def without_options(storage: str) -> str:
    """``storage`` without what follows a question mark, or stands before an @, since that may hold credentials."""
    if not is_remote(storage):
        return storage
    scheme, _, rest = storage.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def write(storage: str, probe: str, name: str) -> str:
    """Write ``name`` into the file called so below ``probe``; returns what is wrong, in one line, or nothing."""
    return _within(lambda: _write(storage, probe, name), storage)


def unseen(storage: str, probe: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` whose files cannot be read from this machine."""
    return [name for name in names if _within(lambda name=name: _read(storage, probe, name), storage)]  # type: ignore[misc]


def clean(storage: str, probe: str) -> None:
    """Remove everything that was written below ``probe``, and the folders that were created for it."""
    _within(lambda: _clean(storage, probe), storage)


def _write(storage: str, probe: str, name: str) -> None:
    if is_remote(storage):
        filesystem, root = _open(storage)
        with filesystem.open_output_stream(f"{root}/{probe}/{name}") as stream:
            stream.write(name.encode())
        return
    folder = Path(storage, probe)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if len(made) > 1:  # the storage folder itself, and perhaps some above it
        (folder / MADE).write_text("\n".join(map(str, made[1:])), encoding="utf-8")
    (folder / name).write_text(name, encoding="utf-8")


def _read(storage: str, probe: str, name: str) -> None:
    if is_remote(storage):
        filesystem, root = _open(storage)
        with filesystem.open_input_stream(f"{root}/{probe}/{name}") as stream:
            found = bytes(stream.read()).decode()
    else:
        found = Path(storage, probe, name).read_text(encoding="utf-8")
    if found != name:
        raise OSError("the content read differs from the content written")


def _clean(storage: str, probe: str) -> None:
    if is_remote(storage):
        filesystem, root = _open(storage)
        filesystem.delete_dir(f"{root}/{probe}")
        return
    folder = Path(storage, probe)
    note = folder / MADE
    made = note.read_text(encoding="utf-8").splitlines() if note.exists() else []
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty any more
        for path in made:
            Path(path).rmdir()


def _open(storage: str) -> tuple[Any, str]:
    from pyarrow import fs

    filesystem, root = fs.FileSystem.from_uri(storage)
    return filesystem, str(root).rstrip("/")


def _within(action: Callable[[], None], storage: str) -> str:
    """Do it; returns what went wrong in one line, also if it does not end in time."""
    problems: list[str] = [f"no answer within {PATIENCE:.0f} seconds"]

    def attempt() -> None:
        try:
            action()
        except (OSError, ValueError, ImportError) as problem:  # pyarrow raises its own kinds of these two
            text = getattr(problem, "strerror", None) or (str(problem).splitlines() or [type(problem).__name__])[0]
            problems.append(text.replace(storage, without_options(storage)))
        else:
            problems.append("")

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return problems[-1]
