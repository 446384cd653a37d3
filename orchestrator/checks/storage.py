"""Checks the storage: this process and each node write, read and delete there, and see one another's files."""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.checks.check import HERE, RESTART, Outcome, Request, failure, ok
from orchestrator.scheduling.each_node import on_each_node
from orchestrator.text import first_line

FILE = "written"  # of each process, deleted again
UNDELETABLE = "what is written there cannot be deleted"
TIMEOUT = 20.0  # seconds for an object store: pyarrow tries for minutes otherwise
REMOTE = (
    "check bucket, region and credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, or an instance role), which must allow "
    "reading, writing and deleting"
)
LOCAL = "free or mount it, chown it to yourself, or choose another with --storage (ORCHESTRATOR_STORAGE)"
SHARED = "mount one shared folder there on every node, or use --storage s3://bucket/path or gs://bucket/path"


def storage(request: Request) -> Iterator[tuple[str, Outcome]]:
    """An outcome for this process and, if it can use the storage, for each node. Nothing is left there."""
    place, probe = request.storage, f".probe-{uuid.uuid4().hex[:12]}"
    is_local, shown = "://" not in place, place.partition("?")[0]  # options may hold credentials
    limit = max(request.patience, 3 * TIMEOUT)
    made = [path for path in (Path(place), *Path(place).parents) if not path.exists()] if is_local else []
    began = time.monotonic()
    problem = use(place, f"{probe}/of-{HERE}") or write(place, probe, HERE)
    nodes = {} if problem else {node: (place, probe, node) for node in request.nodes}
    problems, missing = on_each_node(answer, nodes, limit)
    for node in [node for node, text in problems.items() if not text and read(place, probe, node)]:
        problems[node] = "what it writes there does not appear here"
        on_each_node(clean, {node: (place, probe)}, limit)
    done = ok(f"{shown} written, read and deleted in {1e3 * (time.monotonic() - began):.0f} ms")
    if (left := clean(place, probe)) and not problem:
        problem = f"{UNDELETABLE} ({left})"
    with contextlib.suppress(OSError):  # not empty any more
        for path in made:
            path.rmdir()
    yield HERE, failure(f"{shown}: {problem}", LOCAL if is_local else REMOTE) if problem else done
    for node, text in problems.items():
        yield request.nodes[node], failure(f"{shown}: {text}", SHARED if is_local else REMOTE) if text else done
    for node, reason in missing.items():
        yield request.nodes[node], failure(reason, RESTART)


def answer(place: str, probe: str, node: str) -> str:
    """On a node that sees the driver's file, write one called ``node``. Returns what is wrong, or nothing."""
    if problem := read(place, probe, HERE):
        return f"does not see what the driver has written ({problem})"
    return use(place, f"{probe}/of-{node}") or write(place, probe, node)


def use(place: str, probe: str) -> str:
    """Write, read and delete in ``probe``, as a worker does with checkpoints. Returns what is wrong, or nothing."""
    if problem := write(place, probe, FILE) or read(place, probe, FILE):
        return problem
    left = clean(place, probe)
    return f"{UNDELETABLE} ({left})" if left else ""


def write(place: str, probe: str, name: str) -> str:
    """Write a file of that name, and content, below ``probe``. Returns what is wrong in one line, or nothing."""

    def action(filesystem: Any, folder: str) -> None:
        if filesystem.type_name == "local":
            filesystem.create_dir(folder)
        with filesystem.open_output_stream(f"{folder}/{name}") as stream:
            stream.write(name.encode())

    return _within(place, probe, action)


def read(place: str, probe: str, name: str) -> str:
    """Read what :func:`write` has written. Returns what is wrong in one line, or nothing."""

    def action(filesystem: Any, folder: str) -> None:
        with filesystem.open_input_stream(f"{folder}/{name}") as stream:
            if bytes(stream.read()) != name.encode():
                raise OSError("the content read differs from the content written")

    return _within(place, probe, action)


def clean(place: str, probe: str) -> str:
    """Remove ``probe`` and everything below it. Returns what is wrong in one line, or nothing."""
    return _within(place, probe, lambda filesystem, folder: filesystem.delete_dir(folder))


def _within(place: str, probe: str, action: Callable[[Any, str], None]) -> str:
    """Call it with a file system and a folder in it; returns what went wrong in one line, also if it takes too long."""
    problems = [f"no answer within {TIMEOUT:.0f} seconds"]

    def call() -> None:
        try:
            from pyarrow import fs

            filesystem, root = fs.FileSystem.from_uri(place)
            action(filesystem, f"{root.rstrip('/')}/{probe}")
        except (OSError, ValueError, ImportError) as problem:  # pyarrow raises its own kinds of these two
            code = getattr(problem, "errno", None)
            text = os.strerror(code) if code else first_line(problem)
            problems.append(text.replace(place, place.partition("?")[0]))
        else:
            problems.append("")

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return problems[-1]
