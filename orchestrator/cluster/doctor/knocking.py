"""At the cluster's door: whether anybody answers, and whether a stranger is let in."""

import os
import socket

from orchestrator.cluster.doctor.finding import HERE, Finding, Level

PATIENCE = 5.0  # seconds for a connection or an answer
_ENVIRONMENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "5",  # tries of a second each; Ray's 20 would be too long for a wrong token
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # our line says it
}


def knock(address: str) -> str:
    """What keeps us from ``address`` (``host:port``), or nothing; Ray itself would try for minutes.

    Also asks Ray, by its variables, to be brief: so this comes before Ray is imported.
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
    """Ask the joined cluster's dashboard as a stranger would; None if no dashboard is to be reached from here."""
    import ray

    address = str(getattr(ray.worker.global_worker.node, "webui_url", "") or "")
    return greet_as_stranger(address) if address else None


def greet_as_stranger(address: str) -> Finding | None:
    """Whether the Jobs API at ``address`` (``host:port``) lets in who has no token; None if nothing answers."""
    import requests

    with requests.Session() as stranger:
        stranger.trust_env = False
        try:
            status = stranger.get(f"http://{address}/api/jobs/", timeout=PATIENCE).status_code
        except requests.RequestException:
            return None
    if status in (401, 403):
        return Finding(HERE, "token", Level.OK, f"the cluster turns strangers away ({status})")
    text = f"http://{address} answers anybody ({status}): whoever reaches it runs code on every node"
    return Finding(HERE, "token", Level.FAILURE, text, "export RAY_AUTH_MODE=token before ray start, on every node")
