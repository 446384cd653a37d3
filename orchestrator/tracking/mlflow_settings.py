"""MLflow with our settings: a command keeps them to its end, a user's process only for the length of a call."""

import importlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Seconds of one request, and no second try: the sink waits for a server that is away, and looks before it asks
    # again, so that a run whose creation was not confirmed is not created twice.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",  # a machine without git is no reason to warn
}
_LOGGERS = ("mlflow", "alembic", "mlflow.utils.environment")
_lock = threading.Lock()
_calls = 0  # of mlflow_settings_ended, in whatever threads
_set: set[str] = set()  # names of variables that we have set, and the user has not
_levels: dict[str, int] = {}  # by logger, as it was, or as MLflow's import has set it
_kept = False  # whether they were set before the first of these calls: a command's, which stay


def import_mlflow() -> None:
    """Import MLflow and set what it reads at each request. What the user has set in the environment stays."""
    with _lock:
        for name, value in _ENVIRONMENT.items():
            if name not in os.environ:
                os.environ[name] = value
                _set.add(name)
    with warnings.catch_warnings(action="ignore"):
        importlib.import_module("mlflow")
    with _lock:
        for name in _LOGGERS:  # after the import, which sets them
            _levels.setdefault(name, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def mlflow_settings_ended() -> Iterator[None]:
    """What :func:`import_mlflow` sets inside this block ends with it; of several in threads, with the last one."""
    global _calls, _kept
    with _lock:
        _kept = bool(_levels) if not _calls else _kept
        _calls += 1
    try:
        yield
    finally:
        with _lock:
            _calls -= 1
            if not _calls and not _kept:
                _put_back()


def _put_back() -> None:
    for name in _set:
        if os.environ.get(name) == _ENVIRONMENT[name]:
            del os.environ[name]
    for name, level in _levels.items():
        logging.getLogger(name).setLevel(level)
    _set.clear()
    _levels.clear()
