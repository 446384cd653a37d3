"""MLflow's own web page over the store, on loopback only."""

import os
import shlex
import socket
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError, TrackingError
from orchestrator.redact import redact
from orchestrator.tracking.moved import follow
from orchestrator.tracking.saved_view import VIEW, address
from orchestrator.tracking.store import connect, sqlite_file, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

POLL = 5.0  # seconds between two looks for new experiments
STOPPING = 30.0  # seconds that the server has to stop
LAST_LINES = 20  # of what the server said, if it ends by itself


def serve(given: str | None, port: int, log: Callable[[str], None], debug: bool = False) -> int:
    """Serve the store at ``http://127.0.0.1:port`` until interrupted; returns the exit code.

    Experiments are told as they appear. What the server says is told with ``debug``, or if it ends by itself. Raises
    RequestError if there is nothing to serve or the port is in use, and TrackingError if the server ends by itself.
    """
    uri = tracking_uri(given)
    if uri.startswith(("http://", "https://")):
        raise RequestError(f"{redact(uri)} is a tracking server with its own page: open it in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            raise RequestError(f"port {port} on 127.0.0.1 is in use: choose another one with --port") from problem
    client, server = connect(uri), f"http://127.0.0.1:{port}"
    follow(uri)  # MLflow's server goes to the addresses in the store
    log(f"MLflow shows {redact(uri)} at {server} (Ctrl-C stops it)")
    shown: set[str] = set()
    _tell_new(client, server, shown, log)
    process = _start(uri, port)
    said: deque[str] = deque(maxlen=LAST_LINES)
    listener = threading.Thread(target=_listen, args=(process, said, log if debug else None), daemon=True)
    listener.start()
    try:
        while (code := _ended(process)) is None:
            _tell_new(client, server, shown, log)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(timeout=STOPPING)
        return 0
    listener.join(POLL)
    raise TrackingError("\n".join([f"MLflow's server has ended, exit code {code}", *said]))


def _start(uri: str, port: int) -> "subprocess.Popen[str]":
    database = sqlite_file(uri)
    folder = None
    if database is not None:  # the server runs in the file's folder, where a relative address would name another file
        folder, uri = database.parent, f"sqlite:///{database}{''.join(uri.partition('?')[1:])}"
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not on the command line, which everybody on this machine can read
        "MLFLOW_REGISTRY_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONSAFEPATH": "1",  # files beside the store are no modules, also for what the server starts
        "PYTHONWARNINGS": "ignore",  # warnings of its packages for their developers
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    apps = shlex.quote(sysconfig.get_path("stdlib"))  # uvicorn imports from here first; by default the current folder
    command += ["--uvicorn-opts", f"--log-level warning --app-dir {apps}"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _listen(process: Any, said: deque[str], log: Callable[[str], None] | None) -> None:
    """Read what the server says: a full pipe would stop it."""
    with process.stdout as lines:
        for line in lines:
            said.append(line.rstrip())
            if log is not None:
                log(line.rstrip())


def _ended(process: Any) -> int | None:
    """The exit code; None if the server runs on after ``POLL`` seconds."""
    with suppress(subprocess.TimeoutExpired):
        return int(process.wait(timeout=POLL))
    return None


def _tell_new(client: "MlflowClient", server: str, shown: set[str], log: Callable[[str], None]) -> None:
    """The address of every experiment with a saved view that is not ``shown`` yet."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # a busy store is asked again
        for experiment in client.search_experiments():
            identity = str(experiment.experiment_id)
            if identity not in shown and f"mlflow.sharedViewState.{VIEW}" in experiment.tags:
                shown.add(identity)
                log(f"  {experiment.name}: {address(server, identity)}")
