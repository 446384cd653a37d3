"""Whether a cluster answers, and whether it requires a token."""

import os
import socket

from orchestrator.cluster.doctor.finding import HERE, Finding, Level

PATIENCE = 5.0  # seconds for a connection or an answer
_ENVIRONMENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "5",  # tries of a second each; Ray's 20 would be too long for a wrong token
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # our line says it
}


def knock(address: str) -> str:
    """Why ``address`` (``host:port``) cannot be reached, or nothing; Ray itself would try for minutes.

    Also sets short timeouts in Ray's environment variables, so call it before Ray is imported.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return ""  # auto, or a form of Ray's own
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except OSError as problem:
        return f"nothing answers at {address}: {problem.strerror or problem}"
    return ""


def ask_without_token() -> Finding | None:
    """Query the joined cluster's dashboard without a token; None if it cannot be reached from here."""
    import ray

    address = str(getattr(ray.worker.global_worker.node, "webui_url", "") or "")
    return greet_as_stranger(address) if address else None


def greet_as_stranger(address: str) -> Finding | None:
    """Whether the Jobs API at ``address`` (``host:port``) requires a token; None if nothing answers."""
    import requests

    with requests.Session() as stranger:
        stranger.trust_env = False
        try:
            status = stranger.get(f"http://{address}/api/jobs/", timeout=PATIENCE).status_code
        except requests.RequestException:
            return None
    if status in (401, 403):
        return Finding(HERE, "token", Level.OK, f"the cluster requires a token ({status})")
    text = f"http://{address} requires no token ({status}): whoever can reach it can run code on every node"
    return Finding(HERE, "token", Level.FAILURE, text, "export RAY_AUTH_MODE=token before ray start, on every node")
