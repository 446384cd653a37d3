"""A real Ray head of its own with a token, who uses it, and a connection to it that can be cut."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from driving import ORCHESTRATOR
from patience import PATIENCE
from ports import free_ports

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "MLFLOW_TRACKING_URI": "postgresql://someone:planted-database-password@db/mlflow",
    "ORCHESTRATOR_STORAGE": "/planted-storage-of-another-machine",
}


@dataclass
class Head:
    """A running Ray head on loopback, and the folder and the environment of somebody who uses it."""

    folder: Path
    port: int
    token: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder / "nobody"), "OMP_NUM_THREADS": "1", **more}

    def begin(self, *arguments: str, address: str | None = None, **more: str) -> subprocess.Popen[str]:
        """Start a command as a user of the cluster, with secrets in the environment."""
        environment = self.environment(RAY_AUTH_TOKEN=self.token, **SECRETS) | more
        return subprocess.Popen(
            [ORCHESTRATOR, *arguments, "--address", address or self.address],
            cwd=self.folder / "work",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, *arguments: str, code: int = 0, **more: str) -> tuple[str, str]:
        """Run a command; its stdout and stderr."""
        process = self.begin(*arguments, **more)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"{arguments}: {process.returncode}\n{out}\n{err}"
        return out, err

    def jobs(self) -> list[dict[str, Any]]:
        """What Ray itself says of every job, with all that it knows."""
        answer = requests.get(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"}, timeout=60
        )
        return [job for job in answer.json() if job["submission_id"]]


PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
PORTS += ("ray-client-server-port", "runtime-env-agent-port", "node-manager-port", "object-manager-port")


@contextlib.contextmanager
def ray_head(folder: Path, **environment: str) -> Iterator[int]:
    """A Ray head of its own on loopback; yields its dashboard's port. Ends by killing its own processes."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--num-cpus=2", f"--temp-dir={folder}"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    try:
        subprocess.run(command, env=variables | environment, check=True, capture_output=True, timeout=PATIENCE)
        yield ports["dashboard-port"]
    finally:
        end_of_head(folder)


def end_of_head(folder: Path) -> None:
    """Kill what names ``folder`` or has it for its home: not every process of Ray's does the one, or is a child."""
    family: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(folder) or any(str(folder) in word for word in process.cmdline()):
                family += [process, *process.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=20)


class Proxy:
    """A TCP proxy that can be cut: then what was open is closed and nobody is let in. Only this machine may enter."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target, self.whole = target, True
        self.server = socket.create_server((host, 0))
        self.host, self.port = self.server.getsockname()
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, (peer, _) = self.server.accept()
                if not self.whole or peer != self.host:
                    here.close()
                    continue
                there = socket.create_connection(("127.0.0.1", self.target))
                self.open += [here, there]
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        self.whole = False
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.open.clear()

    def heal(self) -> None:
        self.whole = True

    def close(self) -> None:
        self.cut()
        self.server.close()


class Lines:
    """What a process has printed on one of its streams so far."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream: Any) -> None:
        self.lines.extend(iter(stream.readline, ""))  # extend takes them one by one

    def wait_for(self, words: str, process: subprocess.Popen[str], start: int = 0) -> int:
        deadline = time.monotonic() + PATIENCE
        while True:
            for number, line in enumerate(self.lines[start:], start):
                if words in line:
                    return number
            assert process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.1)
