"""Connecting to a cluster's Jobs API: its address, the token, and whether it requires one."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import ResourceError
from orchestrator.loopback import is_loopback

DEFAULT = "http://127.0.0.1:8265"  # where Ray's head serves it, and where `ray attach -p 8265` forwards it
PATIENCE = 10.0  # seconds for a connection, and for the answer to a short question
REJECTED = (401, 403)
SOURCES = "RAY_AUTH_TOKEN, then the file RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token"


@dataclass(frozen=True)
class Connection:
    """A cluster that answers: its address and request headers (they contain the token: never print them)."""

    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def jobs_address(given: str | None = None) -> str:
    """``given``, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS if it is http(s), else loopback; scheme, host and port.

    Raises ResourceError if that is not a valid address.
    """
    general = os.environ.get("RAY_ADDRESS", "")
    general = general if general.startswith(("http://", "https://")) else ""
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS") or general or DEFAULT
    address = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None or parts.path.strip("/"):
        shown = parts.hostname if host and parts.username is not None else address
        raise ResourceError(
            f"{shown}: not an address of a cluster's Jobs API; write http://HOST:PORT without a user or a path "
            f"(the default is {DEFAULT}, to which `ray attach cluster.yaml -p 8265` forwards it)"
        )
    return f"{parts.scheme}://{parts.netloc}"


def address_flags(address: str | None, insecure: bool) -> str:
    """The flags with which another command finds the same cluster, with a leading space; empty by default."""
    return (f" --address {shlex.quote(address)}" if address else "") + (" --insecure" if insecure else "")


def token() -> str:
    """The cluster's token from where Ray looks for it, or None; always None with RAY_AUTH_MODE=disabled."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return ""
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return (Path(path) if path else Path("~/.ray/auth_token").expanduser()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):
        return ""


def connect(address: str, insecure: bool = False, warn: Callable[[str], None] = lambda _: None) -> Connection:
    """Find out whether ``address`` requires a token, first without sending one, so that none goes to the wrong server.

    Raises ResourceError if nothing answers, if the token is missing or wrong, and, unless ``insecure``, if a cluster
    on another machine requires no token or would get it unencrypted; with ``insecure``, ``warn`` is called instead.
    """
    status = _probe(address, {})
    here = is_loopback(address)
    dangers = []
    if status == 200 and not here:
        dangers.append(
            f"{address} requires no token: whoever can reach it can run code on every node. "
            "Set RAY_AUTH_MODE=token where the cluster is started"
        )
    elif not here and address.startswith("http://"):
        dangers.append(
            f"{address} is not encrypted: the token and your networks could be intercepted. "
            "Reach it through SSH (ray attach cluster.yaml -p 8265) or over https"
        )
    for danger in dangers:
        if not insecure:
            raise ResourceError(f"{danger}; use --insecure to continue anyway")
        warn(f"warning: {danger}")
    if status == 200:
        return Connection(address)
    key = token()
    if not key:
        raise ResourceError(f"{address} requires the cluster's token, and none was found in {SOURCES}")
    headers = {"Authorization": f"Bearer {key}"}
    try:
        status = _probe(address, headers)
    except UnicodeError as problem:
        raise ResourceError(f"the token is not one line of plain characters; looked in {SOURCES}") from problem
    if status in REJECTED:
        raise ResourceError(f"{address} rejects the token ({status}); it was looked for in {SOURCES}")
    return Connection(address, headers)


def _probe(address: str, headers: Mapping[str, str]) -> int:
    """200, 401 or 403. Raises ResourceError if nothing answers or what answers is not Ray."""
    import requests

    with requests.Session() as session:
        session.trust_env = False  # no proxy and no .netrc
        try:
            answer = session.get(
                f"{address}/api/version", headers=dict(headers), timeout=PATIENCE, allow_redirects=False
            )
        except requests.exceptions.SSLError as problem:
            raise ResourceError(f"{address}: its certificate cannot be verified: {problem}") from problem
        except requests.exceptions.InvalidHeader as problem:
            raise ResourceError(f"the token is not one line of plain characters; looked in {SOURCES}") from problem
        except requests.RequestException as problem:
            raise ResourceError(
                f"nothing answers at {address}; start the cluster, and forward its port, in a second shell: "
                "ray attach cluster.yaml -p 8265 (or give another address with --address)"
            ) from problem
    if answer.status_code in REJECTED:
        return answer.status_code
    try:
        is_ray = answer.status_code == 200 and "ray_version" in answer.json()
    except ValueError:
        is_ray = False
    if not is_ray:
        raise ResourceError(f"{address} answers (HTTP {answer.status_code}), but it is not a Ray cluster's Jobs API")
    return 200
