"""The listening sockets of this user's Ray and MLflow processes, and whether others can reach them."""

import contextlib
import ipaddress
from pathlib import PurePath
from typing import Any

RAY_PROGRAMS = ("raylet", "gcs_server")


def listeners() -> list[dict[str, Any]]:
    """One row per listening socket: program (ray, mlflow), pid, ip, port, loopback or not, Ray's token mode."""
    import psutil

    rows = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has just ended, or belongs to another user
            if process.uids().real != psutil.Process().uids().real:
                continue
            program = program_of(process.cmdline())
            if not program:
                continue
            mode = _auth_mode(process) if program == "ray" else ""
            for sock in process.net_connections(kind="inet"):
                if sock.status == psutil.CONN_LISTEN:
                    place = {"ip": sock.laddr.ip, "port": sock.laddr.port, "loopback": is_loopback(sock.laddr.ip)}
                    rows.append({"program": program, "pid": process.pid, "token": mode == "token", **place})
    return rows


def _auth_mode(process: Any) -> str:
    """RAY_AUTH_MODE of a process of Ray's; one that has renamed itself has lost its environment, its parent has not."""
    for relative in (process, *process.parents()):
        if not program_of(relative.cmdline()):
            return ""
        if environment := relative.environ():
            return str(environment.get("RAY_AUTH_MODE", "")).lower()
    return ""


def program_of(command: list[str]) -> str:
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


def is_loopback(ip: str) -> bool:
    """Whether only this machine reaches ``ip``."""
    return ipaddress.ip_address(ip.partition("%")[0].removeprefix("::ffff:")).is_loopback
