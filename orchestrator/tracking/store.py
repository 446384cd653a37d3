"""The tracking store: which one, made ready once, and the client that talks to it."""

import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from orchestrator.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_STORE = "sqlite:///mlflow.db"  # beside where the user stands


def tracking_uri(given: str | None = None) -> str:
    """The store to use: ``given``, else MLFLOW_TRACKING_URI, else a SQLite file in the working directory."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def connect(uri: str) -> "MlflowClient":
    """A client of the store at ``uri``, its tables made. Raises StorageError if it cannot be used."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Seconds of one request, and no second try: the sink waits for a server that is away, and looks before it asks
    # again, so that a run whose creation was not confirmed is not created twice.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "12")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git is no reason to warn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    for name in ("mlflow", "alembic", "mlflow.utils.environment"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        database = sqlite_file(uri)
        if database is None:
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
        _check_database(database)
        # Several processes that make the tables of one fresh file at once crash one another.
        with FileLock(f"{database}.lock"):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
    except (MlflowException, sqlite3.Error, OSError, ImportError) as problem:
        reason = (str(problem).splitlines() or [""])[0]
        raise StorageError(
            f"the tracking store {without_secrets(uri)} cannot be used: {reason} "
            "(choose another with --tracking-uri or MLFLOW_TRACKING_URI)"
        ) from problem


@contextmanager
def asked(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a StorageError that names the store at ``uri``."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        reason = (str(problem).splitlines() or [""])[0]
        raise StorageError(
            f"the tracking store {without_secrets(uri)} did not answer: {reason} (nothing is lost: records are on disk)"
        ) from problem


def _check_database(path: Path) -> None:
    """Raise at once what MLflow would find out only after retrying for minutes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as database:
        database.execute("PRAGMA schema_version").fetchone()


def sqlite_file(uri: str) -> Path | None:
    """The file behind a SQLite store, or None for any other store."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]).absolute() if uri.startswith(prefix) else None


def without_secrets(uri: str) -> str:
    """``uri`` with its password, if any, replaced."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
