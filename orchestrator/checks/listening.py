"""Checks which sockets of this user's Ray and MLflow processes other machines can reach."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from orchestrator.checks.check import Outcome, Request, failure, ok, warning
from orchestrator.loopback import is_loopback
from orchestrator.text import counted

RAY_PROGRAMS = ("raylet", "gcs_server")


class Socket(NamedTuple):
    """A listening socket: whose it is (ray, mlflow), where it listens, and whether Ray requires a token there."""

    program: str
    pid: int
    ip: str
    port: int
    token: bool


def listening(request: Request) -> Iterable[Outcome]:
    """Whether others reach a socket of Ray or MLflow; on a node of a cluster they must, with a token."""
    return evaluate_sockets(list(_sockets()), in_cluster=request.object_store is not None)


def evaluate_sockets(sockets: Sequence[Socket], in_cluster: bool) -> Iterator[Outcome]:
    """One outcome for each program that is reachable from outside, or one that says that none is."""
    groups: dict[tuple[str, bool], list[Socket]] = defaultdict(list)
    for socket in sockets:
        if not is_loopback(socket.ip):
            groups[socket.program, socket.token].append(socket)
    if not groups:
        count = len(sockets)
        sockets_of = f"{counted(count, 'socket')} of Ray and MLflow"
        yield ok(f"{sockets_of}, on loopback only" if count else "no socket of Ray or MLflow")
    for (program, token), rows in sorted(groups.items()):
        where = ", ".join(sorted({f"{row.ip}:{row.port}" for row in rows})[:3]) + ", ..." * (len(rows) > 3)
        ports = counted(len(rows), "port")
        if program == "mlflow":
            processes = " ".join(str(pid) for pid in sorted({row.pid for row in rows}))
            text = f"MLflow listens beyond loopback without authentication: {where}"
            yield warning(text, f"kill {processes}    (then: orchestrator ui)")
        elif token and in_cluster:
            yield ok(f"Ray on {ports} beyond loopback, all requiring a token; a cluster needs them: use a firewall")
        elif token:
            advice = "put a firewall in front of them; if nothing runs on it: ray stop"
            yield warning(f"Ray on {ports} beyond loopback, all requiring a token", advice)
        else:
            text = f"Ray on {ports} beyond loopback without requiring a token: {where}"
            advice = "if nothing runs on it: ray stop, then RAY_AUTH_MODE=token and ray start, on every node"
            yield failure(text, advice) if in_cluster else warning(text, advice)


def _sockets() -> Iterator[Socket]:
    import psutil

    user = psutil.Process().uids().real
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has just ended, or belongs to another user
            program = program_of(process.cmdline()) if process.uids().real == user else ""
            if not program:
                continue
            token = program == "ray" and _auth_mode(process) == "token"
            for found in process.net_connections(kind="inet"):
                if found.status == psutil.CONN_LISTEN:
                    yield Socket(program, process.pid, found.laddr.ip, found.laddr.port, token)


def _auth_mode(process: Any) -> str:
    """RAY_AUTH_MODE of a Ray process; one that has renamed itself has lost its environment, its parent has not."""
    for relative in (process, *process.parents()):
        if not program_of(relative.cmdline()):
            return ""
        if environment := relative.environ():
            return str(environment.get("RAY_AUTH_MODE", "")).lower()
    return ""


def program_of(command: Sequence[str]) -> str:
    """``ray``, ``mlflow`` or nothing, by the command line of a process."""
    if not command:
        return ""
    first = PurePath(command[0].split(" ")[0]).name  # some processes rename themselves into one word
    if first in RAY_PROGRAMS or command[0].startswith(("ray::", "ray-")):
        return "ray"
    if any("/ray/dashboard/" in part or "/ray/_private/" in part or "/ray/core/" in part for part in command[:3]):
        return "ray"
    if any(part == "mlflow" or part.endswith("/mlflow") or part.startswith("mlflow.") for part in command):
        return "mlflow"
    return ""
