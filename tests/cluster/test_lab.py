"""The simulated hosts themselves: what they share and what not, and that nothing of them outlives who started them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from lab import Lab, LabError, missing, sweep
from lab.lab import HOME
from patience import PATIENCE

TESTS = Path(__file__).resolve().parents[1]
HOLDER = """
import signal, sys, time
from lab import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell began in the background
with Lab() as lab:
    lab.start("h1", "h2")
    print(lab.folder, flush=True)
    lab.run("h1", "setsid sleep 3600 >/dev/null 2>&1 &")  # in a session of its own
    while "sleep 3600" not in lab.processes("h1").values():
        pass
    print("up", flush=True)
    time.sleep(3600)
"""

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing()), reason=missing() or "can run")]


SPACES = ("net", "mnt", "pid")


@dataclass(frozen=True)
class Seen:
    """What a living lab consists of, as far as this machine can see."""

    folder: Path
    processes: frozenset[psutil.Process]  # who started it among them
    spaces: frozenset[str]  # namespaces, by their numbers, which the kernel gives to others afterwards
    newest: int  # when the last of the processes began

    def left(self) -> list[str]:
        """What there still is of it."""
        found = [f"process {process.pid}" for process in self.processes if process.is_running()]
        found += [f"folder {self.folder}"] if self.folder.exists() else []
        for pid in psutil.pids():
            with suppress(OSError):  # it ended while we looked
                if began(pid) <= self.newest:
                    found += [f"{space} held by process {pid}" for space in spaces_of(pid) & self.spaces]
                if str(self.folder) in Path(f"/proc/{pid}/mounts").read_text():
                    found.append(f"mount seen by process {pid}")
        return found

    def wait_until_gone(self, besides: str = "nothing") -> None:
        """``besides``: what is not waited for."""
        deadline = time.monotonic() + PATIENCE
        while left := [what for what in self.left() if not what.startswith(besides)]:
            assert time.monotonic() < deadline, f"still there after {PATIENCE} s: {left}"
            time.sleep(0.1)


def spaces_of(pid: int) -> set[str]:
    try:
        return {str(Path(f"/proc/{pid}/ns/{space}").readlink()) for space in SPACES}
    except OSError:
        return set()


def began(pid: int) -> int:
    """Clock ticks from the machine's start to the process's."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def look(starter: int, folder: Path) -> Seen:
    """The lab in ``folder`` and every process of it, below the process ``starter``."""
    processes = [psutil.Process(starter), *psutil.Process(starter).children(recursive=True)]
    spaces = {space for process in processes for space in spaces_of(process.pid)} - spaces_of(os.getpid())
    newest = max(began(process.pid) for process in processes)
    return Seen(folder, frozenset(processes[1:]), frozenset(spaces), newest)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Seen]]:
    """A process that has two hosts up, and what there is of its lab."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert process.stdout.readline() == "up\n"
        seen = look(process.pid, folder)
        words = {" ".join(child.cmdline()) for child in seen.processes}
        assert {"sleep 3600"} < words  # what runs there is found, though it left its session
        assert len(seen.spaces) == 3 * len(SPACES)  # of the supervisor and of two hosts
        assert {what.split()[0] for what in seen.left()} >= {"process", "folder", "mount"}
        yield process, seen
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_who_started_it(holder: tuple[subprocess.Popen[str], Seen], number: signal.Signals) -> None:
    process, seen = holder
    process.send_signal(number)
    process.wait(timeout=PATIENCE)
    seen.wait_until_gone()


def test_a_killed_keeper_leaves_a_folder_that_the_next_lab_removes(
    holder: tuple[subprocess.Popen[str], Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, seen = holder
    monkeypatch.setattr(tempfile, "tempdir", str(seen.folder.parent))
    assert sweep() == []  # a living lab is left alone
    process.send_signal(signal.SIGSTOP)  # so that it cannot tidy
    [supervisor] = [child for child in seen.processes if "supervisor.py" in " ".join(child.cmdline()[:3])]
    supervisor.kill()
    process.kill()
    process.wait()
    seen.wait_until_gone(besides="folder")
    assert sweep() == [seen.folder]
    seen.wait_until_gone()


def test_hosts_are_apart_but_for_what_they_share() -> None:
    with Lab() as lab:
        lab.start("c", "h1", "h2")
        assert lab.run("h1", "hostname; hostname -i").stdout.split() == ["h1", "10.213.0.2"]
        for path in (f"{HOME}/mine", "/tmp/mine", "/run/mine", "/dev/shm/mine", "/mnt/private/mine", "/etc/mine"):
            lab.run("h1", f"touch {path}")
            assert lab.run("h2", f"ls {path}", check=False).returncode == 2
            assert not Path(path).exists()
        lab.run("h1", "echo ours > /mnt/nfs/ours")
        assert lab.run("h2", "cat /mnt/nfs/ours").stdout == "ours\n"
        assert not [words for words in lab.processes("h2").values() if "h1" in words.split()]

        ssh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=5"
        assert lab.run("c", f"{ssh} h1 hostname").stdout == "h1\n"
        refused = lab.run("c", f"{ssh} -o IdentityFile=/dev/null -o IdentitiesOnly=yes h1 hostname", check=False)
        assert "Permission denied (publickey)" in refused.stderr

        lab.cut("h1")
        assert lab.run("c", f"{ssh} h1 hostname", check=False).returncode == 255
        assert lab.run("c", f"{ssh} h2 hostname").stdout == "h2\n"
        lab.heal("h1")
        assert lab.run("c", f"{ssh} h1 hostname").stdout == "h1\n"

        old = lab.pids["h1"]
        lab.kill("h1")
        assert not Path(f"/proc/{old}").exists()
        with pytest.raises(LabError, match="kill h1"):
            lab.kill("h1")
        lab.start("h1")
        assert lab.run("h1", "ls /mnt/private /mnt/nfs").stdout.split() == ["/mnt/nfs:", "ours", "/mnt/private:"]
        seen = look(os.getpid(), lab.folder)
        assert seen.left()
    seen.wait_until_gone()
