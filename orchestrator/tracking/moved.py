"""Artifacts of a SQLite store whose folder was copied or moved: the database keeps their absolute addresses."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlruns"  # the folder beside a SQLite file
# Where MLflow keeps addresses of artifacts, which all begin with that of their experiment.
_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def artifacts_beside(database: Path, name: str) -> str:
    """The URI of the folder in which the experiment ``name`` of a SQLite file keeps its artifacts."""
    return (database.parent / ARTIFACTS / name).as_uri()


def follow(database: Path) -> None:
    """Let the experiments of a copied or moved ``database`` use the artifacts beside it, not those it was copied from.

    Artifacts in any other place stay where they are, as do those of a database that cannot be written to.
    """
    if not os.access(database, os.W_OK):
        return
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        locations = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        for (before,) in locations:
            if before and (now := _place_now(before, database)) is not None:
                _replace(connection, before, now)


def _place_now(location: str, database: Path) -> str | None:
    """Where the artifacts at ``location`` are now, if they were beside ``database`` before that was copied or moved."""
    address = urlsplit(location)
    place = Path(unquote(address.path))
    if address.scheme != "file" or place.parent.name != ARTIFACTS:
        return None
    folder, here = place.parent.parent, database.parent
    if folder.resolve() == here.resolve():
        return None
    is_copied, is_gone = (here / ARTIFACTS / place.name).is_dir(), not folder.exists()
    return artifacts_beside(database, place.name) if is_copied or is_gone else None


def _replace(connection: sqlite3.Connection, before: str, now: str) -> None:
    """Replace ``before`` where an address is that or begins with it as a folder."""
    for table, columns in _COLUMNS.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}  # none: there is no such table
        for column in there.intersection(columns):
            begins = f"({column} = ? OR substr({column}, 1, ?) = ?)"
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {begins}",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
