"""A lab of simulated hosts, from a test or the command line: up, run something there, cut, heal, kill, down."""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from patience import PATIENCE

PREFIX = "orch-lab-"  # of each lab's folder, in the folder for temporary files
HOME = "/root"  # on every host, of its only user
CLIENT = "c"  # the host that stands for a user's laptop
ADDRESSES = {CLIENT: "10.213.0.1", **{f"h{i}": f"10.213.0.{i + 1}" for i in range(1, 10)}}
SHM_BYTES = 2_000_000_000
CHECKOUT = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """The lab, or a command on one of its hosts, did not do what was asked."""


class Lab:
    """Hosts with their own network, processes, root and sshd; gone when the ``with`` ends or this process does.

    ``c`` is a client; ``h1`` ... ``h9`` come up when asked for. All share /mnt/nfs (``shared`` outside).
    """

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}

    def __enter__(self) -> "Lab":
        if lacking := missing():
            raise LabError(f"no simulated hosts here: {lacking}")
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.shared = self.folder / "shared"
        lock = _lock(self.folder)
        try:
            self._prepare()
            spec = {
                "folder": str(self.folder),
                "addresses": ADDRESSES,
                "shm_bytes": SHM_BYTES,
                "seen": _seen(),
                "bashrc": f"export PATH={shlex.quote(str(Path(sys.prefix) / 'bin'))}:$PATH PYTHONDONTWRITEBYTECODE=1\n",
            }
            spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child"]
            supervisor = str(Path(__file__).with_name("supervisor.py"))
            with (self.folder / "supervisor.log").open("w") as log:
                self._supervisor = subprocess.Popen(
                    ["unshare", *spaces, sys.executable, "-I", supervisor, json.dumps(spec)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=[lock],  # held as long as it lives
                    start_new_session=True,  # Ctrl-C is for us; the supervisor sees our end
                )
            assert self._supervisor.stdout is not None
            if self._supervisor.stdout.readline() != b"ready\n":
                raise LabError("the lab did not come up:\n" + (self.folder / "supervisor.log").read_text())
        except BaseException:
            self.close()
            raise
        finally:
            os.close(lock)
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _prepare(self) -> None:
        self.shared.mkdir()
        for name in ("key", "host_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.folder / name)]
            subprocess.run(command, check=True)
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in ADDRESSES.items())]
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")

    def close(self) -> None:
        """End every host and remove the folder."""
        supervisor = getattr(self, "_supervisor", None)
        if supervisor is not None and supervisor.stdin is not None and supervisor.stdout is not None:
            supervisor.stdin.close()
            try:
                supervisor.wait(timeout=30)
            except subprocess.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()
            supervisor.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *hosts: str) -> None:
        """Bring hosts up; they answer to ssh when this returns."""
        for host in hosts:
            self.pids[host] = _ask(self.folder, "start", host)

    def kill(self, host: str) -> None:
        """kill -9 of everything on the host, at once; its disk is lost with it."""
        _ask(self.folder, "kill", host)
        del self.pids[host]

    def cut(self, host: str) -> None:
        """Take the host's network away: nothing reaches it and nothing is told so."""
        _ask(self.folder, "cut", host)

    def heal(self, host: str) -> None:
        """Give the network back."""
        _ask(self.folder, "heal", host)

    def path(self, host: str, path: str) -> Path:
        """Where a file of the host's can be read and written from here."""
        return Path(f"/proc/{self.pids[host]}/root", path.lstrip("/"))

    def command(self, host: str, command: str, seconds: float = 3600) -> list[str]:
        """What runs the shell ``command`` in the host's home folder, at most so long, inheriting nothing from here."""
        return enter(self.pids[host], command, seconds)

    def run(
        self, host: str, command: str, *, seconds: float = PATIENCE, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the shell ``command`` on the host; its output is text. Raises LabError with it if the command fails."""
        done = subprocess.run(
            self.command(host, command, seconds),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds + 20,
        )
        if check and done.returncode:
            late = f" (its limit of {seconds:.0f} s is over)" if done.returncode in (124, 137) else ""
            raise LabError(f"{host}: {command}: exit code {done.returncode}{late}\n{done.stdout}{done.stderr}")
        return done

    def processes(self, host: str) -> dict[int, str]:
        """Every process on the host, by its number there: the command line, or the bare name of one that has none."""
        found = self.run(host, "ps -eo pid=,args=").stdout.splitlines()
        pairs = (line.strip().partition(" ") for line in found)
        return {int(number): words for number, _, words in pairs}


def enter(pid: int, command: str, seconds: float = 3600) -> list[str]:
    """The words of a command that runs ``command`` on the host whose PID 1 is ``pid``."""
    spaces = ["--mount", "--pid", "--uts", "--net", "--ipc", "--root", "--wd"]
    environment = [f"HOME={HOME}", "USER=root", f"PATH={PATH}", "LANG=C.UTF-8", "TERM=dumb"]
    limited = ["timeout", "-k", "5", str(seconds), "bash", "-c", f". ~/.bashrc; {command}"]
    return ["nsenter", "--target", str(pid), *spaces, "env", "-i", *environment, *limited]


def missing() -> str:
    """What this machine lacks for simulated hosts, in words; empty if nothing."""
    if sys.platform != "linux":
        return "Linux is needed"
    if os.geteuid() != 0:
        return "root is needed"
    tools = ("unshare", "nsenter", "ip", "ssh", "ssh-keygen", "rsync", "/usr/sbin/sshd")
    if lacking := [tool for tool in tools if shutil.which(tool) is None]:
        return f"{', '.join(lacking)} missing (iproute2, openssh-server, openssh-client, rsync)"
    tried = "ip link add name s0 type bridge && ip link add name v0 type veth peer name v1 && mount -t tmpfs tmpfs /mnt"
    spaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    done = subprocess.run(["unshare", *spaces, "bash", "-c", tried], capture_output=True, text=True, timeout=60)
    return f"namespaces are not permitted: {done.stderr.strip()}" if done.returncode else ""


def folders() -> list[Path]:
    """The folders of all labs, living and dead."""
    return sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def sweep(*, living: bool = False) -> list[Path]:
    """Remove the folders of labs whose supervisor was killed; with ``living``, end the others first."""
    swept = []
    for folder in folders():
        if living:
            with contextlib.suppress(LabError, OSError, ValueError):
                _ask(folder, "down", "")
        try:
            lock = _lock(folder, wait=living)
        except OSError:
            continue  # it lives
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        swept.append(folder)
    return swept


def _lock(folder: Path, *, wait: bool = False) -> int:
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(number)
        raise
    return number


def _ask(folder: Path, do: str, host: str) -> Any:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(folder / "control"))
        with connection.makefile("rw") as stream:
            stream.write(json.dumps({"do": do, "host": host}) + "\n")
            stream.flush()
            answer = stream.readline()
    if not answer:
        if do == "down":
            return None
        raise LabError(f"{do} {host}: the lab is gone")
    found = json.loads(answer)
    if "error" in found:
        raise LabError(found["error"])
    return found["value"]


def _seen() -> list[str]:
    """Folders that every host needs at the place where they are here: the checkout, its environment, its Python."""
    wanted = [CHECKOUT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    return list(dict.fromkeys(str(path) for path in wanted if path != Path("/usr")))
