"""MLflow's own web page over the store, on loopback only."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

from orchestrator.errors import RequestError
from orchestrator.tracking.saved_view import VIEW, address
from orchestrator.tracking.store import connect, sqlite_file, tracking_uri, without_secrets


def serve(given: str | None, port: int, log: Callable[[str], None]) -> int:
    """Serve the store at ``http://127.0.0.1:port`` until interrupted; returns the exit code."""
    uri = tracking_uri(given)
    if uri.startswith(("http://", "https://")):
        raise RequestError(f"{without_secrets(uri)} is a tracking server with its own page: open it in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            raise RequestError(f"port {port} on 127.0.0.1 is in use: choose another one with --port") from problem
    client, server = connect(uri), f"http://127.0.0.1:{port}"
    log(f"MLflow shows {without_secrets(uri)} at {server} (Ctrl-C stops it)")
    for experiment in client.search_experiments():
        if f"mlflow.sharedViewState.{VIEW}" in experiment.tags:
            log(f"  {experiment.name}: {address(server, experiment.experiment_id)}")
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
        "PYTHONWARNINGS": "ignore",  # warnings of its packages for their developers
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait(timeout=30)
        return 0
