"""Whether the tracking store can be used, without creating anything: for `orchestrator doctor`."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import StorageError
from orchestrator.text import counted
from orchestrator.tracking.store import check_address, connect, sqlite_file

PATIENCE = 5.0  # seconds for a server to answer


def probe(uri: str) -> str:
    """The state of ``uri`` in a few words. Raises StorageError if a launch could not record there."""
    database = sqlite_file(uri)
    if database is not None:
        return _probe_file(database)
    if uri.startswith(("http://", "https://")):
        return _probe_server(uri)
    connect(uri)
    return f"{urlsplit(uri).scheme.partition('+')[0]} answers"


def _probe_file(path: Path) -> str:
    if not path.exists():
        folder = next(parent for parent in path.parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
            raise StorageError(f"{path} cannot be created: you cannot write to {folder}")
        return f"{path.name} will be created in {path.parent}"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as database:
            database.execute("BEGIN IMMEDIATE")  # what a record needs: write permission and no lock
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            runs = database.execute("SELECT count(*) FROM runs").fetchone()[0] if "runs" in tables else 0
            database.rollback()
    except sqlite3.Error as problem:
        raise StorageError(f"{path}: {problem}") from problem
    return f"{path}, {counted(runs, 'run')}, writable"


def _probe_server(uri: str) -> str:
    import requests

    check_address(uri)
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=PATIENCE)
    except requests.RequestException as problem:
        raise StorageError(f"no answer ({type(problem).__name__})") from problem
    if answer.status_code not in (200, 401):
        raise StorageError(f"the server answers {answer.status_code} {answer.reason}")
    connect(uri)
    return "the server answers"
