"""`orchestrator doctor` checks every node of a real cluster, one that differs or hangs too; none without the token."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from doctoring import ORCHESTRATOR, TOKEN, checks, doctor
from driving import NEEDS_ROOT
from patience import PATIENCE
from ports import free_port, free_ports

from orchestrator.workflow.verify import kill_driver

RAY = str(Path(sys.executable).with_name("ray"))


class Cluster:
    """A head and two more nodes on loopback, all asking for a token, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(ORCHESTRATOR).parent}:{os.environ['PATH']}",
        }
        port, dashboard_port = free_ports(2)
        self.address, self.url = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}"
        temp = ["--temp-dir", str(folder / "ray")]
        self.start("--head", f"--port={port}", "--num-cpus=0", f"--dashboard-port={dashboard_port}", *temp)

    def start(self, *arguments: str, before: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """``ray start`` with ``arguments``, after ``before`` has been said to the shell."""
        command = [
            RAY,
            "start",
            "--node-ip-address=127.0.0.1",
            "--object-store-memory=100000000",
            f"--dashboard-agent-listen-port={free_port()}",  # its own may be taken
            "--block",
            *arguments,
        ]
        with (self.folder / f"node-{len(self.processes)}.txt").open("wb") as output:
            process = subprocess.Popen(
                ["unshare", "--mount", "bash", "-c", f"{before}\nexec {shlex.join(command)}"],
                env={**self.environment, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def wait(self, words: str) -> None:
        """Until the last node says ``words``."""
        output = self.folder / f"node-{len(self.processes) - 1}.txt"
        deadline = time.monotonic() + PATIENCE
        while words not in output.read_text():
            assert self.processes[-1].poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)

    def end(self) -> None:
        """Kill every process that was started, and whatever became of their children."""
        for process in self.processes:
            kill_driver(process)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("c"))
    try:
        started.wait("runtime started")
        yield started
    finally:
        started.end()


@pytest.mark.cluster
@pytest.mark.ray
@NEEDS_ROOT
def test_every_node_of_a_cluster(cluster: Cluster, home: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    look = ["--json", "--address", cluster.address, "--storage", str(storage)]
    cluster.start("--address", cluster.address, "--num-cpus=1")
    cluster.wait("runtime started")
    done = doctor(home, *look, **access)
    found = checks(done)
    assert {
        c["status"] for name in ("cluster", "token", "clock", "storage", "Ray", "orchestrator") for c in found[name]
    } == {"ok"}, done.stdout
    assert len(found["storage"]) == 3  # two nodes and here
    assert found["token"][0]["value"] == "the cluster requires a token (401)"
    assert list(storage.iterdir()) == []
    assert TOKEN not in done.stdout + done.stderr

    # A node whose package has been edited, whose storage is not the shared one, and with few open files.
    other = tmp_path / "other"
    shutil.copytree(sys.modules["orchestrator"].__path__[0], other / "orchestrator")
    with (other / "orchestrator" / "__init__.py").open("a") as file:
        file.write("# edited\n")
    odd = cluster.start(
        "--address", cluster.address, "--num-cpus=1",
        before=f"mount -t tmpfs none {storage}; ulimit -Sn 4096", PYTHONPATH=str(other),
    )  # fmt: skip
    cluster.wait("runtime started")
    done = doctor(home, *look, **access)
    found = checks(done)
    [package] = [c for c in found["orchestrator"] if c["status"] == "failure"]
    assert "the driver has" in package["value"]
    [files] = [c for c in found["open files"] if c["value"].startswith("4,096")]
    assert files["node"] == package["node"]
    [other_storage] = [c for c in found["storage"] if "does not see what the driver has written" in c["value"]]
    assert other_storage["node"] == package["node"]
    assert list(storage.iterdir()) == []

    # A node that hangs is a line, not a hang.
    [raylet] = [p for p in psutil.Process(odd.pid).children(recursive=True) if p.name() == "raylet"]
    raylet.send_signal(signal.SIGSTOP)
    try:
        done = doctor(home, *look, "--patience", "8", **access)
    finally:
        raylet.send_signal(signal.SIGCONT)
    [silent] = [c["value"] for c in checks(done)["node"] if c["node"] == package["node"]]
    assert silent == "did not answer within 8 seconds"  # a healthy node may be as slow on a busy machine

    # Without the token nothing is learnt.
    refused = doctor(home, *look, **{**access, "RAY_AUTH_TOKEN": "f" * 64})
    [check] = checks(refused)["cluster"]
    assert check["status"] == "failure"
    assert "RAY_AUTH_TOKEN" in check["advice"]
    assert "clock" not in checks(refused)
