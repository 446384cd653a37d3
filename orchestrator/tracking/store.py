"""The tracking store: its address, its preparation, and its client."""

import errno
import importlib.util
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from orchestrator.errors import StorageError
from orchestrator.files import from_user
from orchestrator.redact import redact
from orchestrator.text import first_line
from orchestrator.tracking.mlflow_settings import import_mlflow, mlflow_settings_ended

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Scheme of an object store: the package that MLflow needs for it, and our extra that installs it.
_PACKAGES = {"s3": ("boto3", "aws"), "gs": ("google.cloud.storage", "gcp")}
CONNECT_TIMEOUT = 12  # seconds; as long as a request to a tracking server may take
DEFAULT_STORE = "sqlite:///mlflow.db"  # in the working directory


def tracking_uri(given: str | None = None) -> str:
    """The store to use: ``given``, else MLFLOW_TRACKING_URI, else a SQLite file in the working directory."""
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    scheme, separator, rest = uri.partition("://")
    if scheme in ("postgres", "postgresql") and importlib.util.find_spec("psycopg2") is not None:
        scheme = "postgresql+psycopg2"  # the driver that our extra installs, whichever SQLAlchemy would look for
    chosen = scheme + separator + rest
    return absolute_uri(chosen) if chosen.startswith("sqlite:///~") else chosen  # the home folder


def connect(uri: str, make: bool = True) -> "MlflowClient":
    """A client of the store at ``uri``, with its tables created. Raises StorageError if it cannot be used.

    Without ``make``, a SQLite file must exist: reading creates no empty one.
    """
    check_address(uri)
    if not make and (file := sqlite_file(uri)) is not None and not file.exists():
        raise StorageError(f"there is no tracking store {file}: run an experiment, or give another with --tracking-uri")
    import_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        database = sqlite_file(uri)
        if database is None:
            _check_server(uri)
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
        _check_database(database)
        with _alone(database, make):
            client = MlflowClient(absolute_uri(uri))
            client.search_experiments(max_results=1)
            return client
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, ValueError) as problem:
        raise unusable(uri, problem) from problem


@contextmanager
def _alone(database: Path, make: bool) -> Iterator[None]:
    """Processes that create the tables of a new file at the same time make each other crash.

    Who may not ``make`` one, and not write beside it either, goes on: the tables are there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(f"{database}.lock"))
        except OSError as problem:
            if make or problem.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
        yield


@contextmanager
def questions(client: "MlflowClient") -> Iterator[None]:
    """Inside this block MLflow has our settings, and what it raises is a StorageError that names the client's store."""
    with mlflow_settings_ended():
        import_mlflow()
        with asked(client.tracking_uri):
            yield


def unusable(uri: str, problem: BaseException) -> StorageError:
    """What to raise for the ``problem`` with the store at ``uri``."""
    return StorageError(
        redact(f"the tracking store {uri} cannot be used: {first_line(problem)} ")
        + "(choose another with --tracking-uri or MLFLOW_TRACKING_URI)"
    )


@contextmanager
def asked(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a StorageError that names the store at ``uri``."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        did = "refused" if problem.error_code == "INVALID_PARAMETER_VALUE" else "did not answer"
        raise StorageError(
            redact(f"the tracking store {uri} {did}: {first_line(problem)} (nothing is lost: records are on disk)")
        ) from problem


@contextmanager
def reading(given: str | None) -> Iterator[tuple["MlflowClient", str]]:
    """A client of the store that :func:`tracking_uri` chooses, which must exist, and its address.

    Raises StorageError if it cannot be used, or does not answer inside the block.
    """
    uri = tracking_uri(given)
    client = connect(uri, make=False)
    with asked(uri):
        yield client, uri


def check_artifact_store(place: str) -> None:
    """Raise StorageError if the package that MLflow needs for the object store of ``place`` is missing."""
    needed, extra = _PACKAGES.get(urlsplit(place).scheme, ("", ""))
    if needed and importlib.util.find_spec(needed) is None:
        raise StorageError(
            f"MLflow needs the package {needed} for artifacts at {place}, and it is not installed; "
            f"install it with: uv sync --extra {extra}"
        )


def _check_database(path: Path) -> None:
    """Raise at once what MLflow would raise only after minutes of retries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as database:
        database.execute("PRAGMA schema_version").fetchone()


def check_address(uri: str) -> None:
    """Reject a tracking server's address that would be split inside its password, and partly printed."""
    user = uri.partition("://")[2].rpartition("@")[0]
    if uri.startswith(("http://", "https://")) and ("/" in user or "@" in user):
        raise StorageError(
            f"the tracking store {redact(uri)} cannot be used: write / as %2F and @ as %40 in its password, "
            "or give it in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


def _check_server(uri: str) -> None:
    """Connect once to a database server: MLflow itself would try for two minutes."""
    import sqlalchemy

    scheme = uri.partition("://")[0].partition("+")[0]
    if scheme not in ("postgresql", "mysql"):
        return
    engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": CONNECT_TIMEOUT})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def sqlite_file(uri: str) -> Path | None:
    """The file behind a SQLite store, or None for any other store."""
    prefix = "sqlite:///"
    return from_user(uri.removeprefix(prefix).partition("?")[0]).absolute() if uri.startswith(prefix) else None


def absolute_uri(uri: str) -> str:
    """``uri`` with the same meaning in every folder."""
    file, (address, question, options) = sqlite_file(uri), uri.partition("?")
    return uri if file is None or "memory:" in address else f"sqlite:///{file}{question}{options}"
