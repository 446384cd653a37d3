"""Artifacts beside a SQLite store that was copied or moved, or is seen at another path: it has absolute addresses."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.tracking.store import sqlite_file, unusable
from orchestrator.tracking.tags import BESIDE, KIND, LAUNCH_ID, LEASE

ARTIFACTS = "mlruns"  # the folder beside a SQLite file
TIMEOUT = 30  # seconds to wait while another process writes to the file
Runs = Callable[[], sqlite3.Cursor]  # asks for the ids of an experiment's runs
# Where MLflow keeps addresses of artifacts, which all begin with that of their experiment.
_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
# A launch of an experiment other than the one that is being opened, with a driver that is alive.
_DRIVEN = """
    SELECT 1 FROM runs
    JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = ? AND kind.value = 'launch'
    JOIN tags AS lease ON lease.run_uuid = runs.run_uuid AND lease.key = ? AND CAST(lease.value AS REAL) > ?
    LEFT JOIN tags AS launch ON launch.run_uuid = runs.run_uuid AND launch.key = ?
    WHERE runs.experiment_id = ? AND runs.status = 'RUNNING' AND launch.value IS NOT ?
"""


def artifacts_beside(database: Path, name: str) -> str:
    """The URI of the folder in which the experiment ``name`` of a SQLite file keeps its artifacts."""
    return (database.parent / ARTIFACTS / name).as_uri()


def is_beside(database: Path, address: str) -> bool:
    """Whether ``address`` is that of an experiment's artifacts beside the SQLite file, at today's path."""
    return address == artifacts_beside(database, Path(unquote(urlsplit(address).path)).name)


def now_at(uri: str, address: str) -> str:
    """Where the artifacts that the store at ``uri`` has at ``address`` are, as seen from here; nothing is written.

    It is ``address`` itself, unless they were beside a SQLite file that has another path now (:func:`_place_now`).
    """
    database = sqlite_file(uri)
    if database is None or not database.is_file() or not address.startswith("file:"):
        return address
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=TIMEOUT)) as connection:
            for _, before, now in _moves(connection, database):
                if address == before or address.startswith(f"{before}/"):
                    return now + address.removeprefix(before)
    except sqlite3.Error as problem:
        raise unusable(uri, problem) from problem
    return address


def follow(uri: str, launch_id: str | None = None) -> None:
    """Write into a copied or moved SQLite store where its artifacts are now, for MLflow's page and for other programs.

    Only what opens a launch, registers a network or serves the store calls it. An experiment with a running launch,
    other than that with ``launch_id``, keeps its addresses: the driver may see the same folder at another path. So does
    one of which nothing shows that its artifacts were beside the database (:func:`_place_now`), and a store that cannot
    be written to. Raises StorageError if the database cannot be used.
    """
    database = sqlite_file(uri)
    if database is None or not os.access(database, os.W_OK):
        return
    try:
        with closing(sqlite3.connect(database, timeout=TIMEOUT)) as connection, connection:
            if not any(_moves(connection, database)):
                return
            connection.execute("BEGIN IMMEDIATE")  # no launch begins between the look and the change
            for experiment, before, now in list(_moves(connection, database)):
                others = (KIND, LEASE, time.time(), LAUNCH_ID, experiment, launch_id or "")
                if connection.execute(_DRIVEN, others).fetchone() is None:
                    _replace(connection, experiment, before, now)
    except sqlite3.Error as problem:
        raise unusable(uri, problem) from problem


def _moves(connection: sqlite3.Connection, database: Path) -> Iterator[tuple[int, str, str]]:
    """Of each experiment whose artifacts are elsewhere than recorded: its id, the recorded address, the present one."""
    tags = "SELECT experiment_id, value FROM experiment_tags WHERE key = ?"
    beside = dict(connection.execute(tags, (BESIDE,)).fetchall())
    known = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    for experiment, address in known:
        runs = partial(connection.execute, "SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment,))
        if address and (now := _place_now(address, database, beside.get(experiment), runs)) is not None:
            yield experiment, address, now


def _place_now(address: str, database: Path, beside: str | None, runs: Runs) -> str | None:
    """Where the artifacts at ``address`` are now, if they were beside ``database`` when it had another path; else None.

    That they were is what the experiment's tag ``beside`` says: it is the address, as it was when they were. They have
    moved if there is nothing at that address (any more, or as seen from here), or if they were copied too.

    An experiment of an earlier version has no tag. That its artifacts were beside the database is then shown by folders
    of its ``runs`` in today's place, if there is nothing at the address, or another copy of the database beside it.
    Anything else is another disk, which may just not be mounted.
    """
    parts = urlsplit(address)
    place = Path(unquote(parts.path))
    if parts.scheme != "file" or place.parent.name != ARTIFACTS:
        return None
    folder, now = place.parent.parent, database.parent / ARTIFACTS / place.name
    if folder == database.parent or (_exists(folder) and folder.samefile(database.parent)):
        return None
    is_gone = not _exists(place)
    if beside is not None:
        moved = beside == address and (is_gone or now.is_dir())
    else:
        moved = (is_gone or _exists(folder / database.name)) and _has_any(now, runs)
    return artifacts_beside(database, place.name) if moved else None


def _has_any(folder: Path, runs: Runs) -> bool:
    """Whether ``folder`` has that of one of the ``runs``."""
    try:
        return not {run for (run,) in runs()}.isdisjoint(path.name for path in folder.iterdir())
    except OSError:
        return False


def _exists(path: Path) -> bool:
    """Whether there is anything at ``path`` that may be read."""
    try:
        return path.exists()
    except OSError:
        return False


def _replace(connection: sqlite3.Connection, experiment: int, before: str, now: str) -> None:
    """Replace ``before`` where an address is that or begins with it as a folder."""
    for table, columns in _COLUMNS.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}  # none: there is no such table
        for column in there.intersection(columns):
            begins = f"({column} = ? OR substr({column}, 1, ?) = ?)"
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {begins}",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
    tag = "UPDATE experiment_tags SET value = ? WHERE experiment_id = ? AND key = ?"
    connection.execute(tag, (now, experiment, BESIDE))
