"""One simulated host: PID 1 of its namespaces. It builds its own root over this machine's, runs sshd, and reaps."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = """
Port 22
HostKey /etc/ssh/lab_host_key
PidFile none
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
MaxStartups 100
Subsystem sftp internal-sftp
"""


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def build_root(spec: dict) -> Path:
    """An overlay over ``/`` whose changes, home, /tmp, /run and /dev live in memory and end with this host."""
    folder, top = Path(spec["folder"]), Path(spec["folder"], spec["name"])
    mount("-t", "tmpfs", "-o", "size=8G", "tmpfs", str(top))
    layers = iter(range(10))

    def overlay(lower: Path, target: Path) -> None:
        layer = top / f"layer{next(layers)}"
        (layer / "up").mkdir(parents=True)
        (layer / "work").mkdir()
        target.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={layer}/up,workdir={layer}/work"
        mount("-t", "overlay", "-o", options, "overlay", str(target))

    root = top / "root"
    overlay(Path("/"), root)
    (root / "run").mkdir(exist_ok=True)
    for path, size in (("root", "4G"), ("tmp", "4G"), ("run", "64M"), ("dev", "1M")):
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root / path))
    (root / "tmp").chmod(0o1777)
    for path in spec["seen"]:  # the checkout and Python, where the overlay does not show them already
        here, there = Path(path), root / path.lstrip("/")
        if not there.exists() or not any(there.iterdir()):
            overlay(here, there)
    mount("-t", "proc", "proc", str(root / "proc"))
    subprocess.run(["mount", "-t", "sysfs", "sysfs", str(root / "sys")], stderr=subprocess.DEVNULL)
    if (root / "sys/fs/cgroup").is_dir():
        mount("--rbind", "/sys/fs/cgroup", str(root / "sys/fs/cgroup"))
    build_devices(root / "dev", spec["shm_bytes"])
    (root / "mnt/nfs").mkdir(parents=True, exist_ok=True)
    (root / "mnt/private").mkdir(parents=True, exist_ok=True)
    mount("--bind", str(folder / "shared"), str(root / "mnt/nfs"))
    return root


def build_devices(dev: Path, shm_bytes: int) -> None:
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        mount("--bind", f"/dev/{name}", str(dev / name))
    for name, source in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (dev / name).symlink_to(source)
    (dev / "pts").mkdir()
    (dev / "shm").mkdir()
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620", "devpts", str(dev / "pts"))
    (dev / "ptmx").symlink_to("pts/ptmx")
    mount("-t", "tmpfs", "-o", f"size={shm_bytes},mode=1777", "tmpfs", str(dev / "shm"))


def write_files(root: Path, spec: dict) -> None:
    folder = Path(spec["folder"])
    (root / "etc/hosts").write_text((folder / "hosts").read_text())
    (root / "etc/hostname").write_text(spec["name"] + "\n")
    (root / "etc/ssh").mkdir(exist_ok=True)
    (root / "etc/ssh/sshd_config").write_text(SSHD)
    (root / "run/sshd").mkdir()
    home = root / "root"
    home.chmod(0o700)
    (home / ".ssh").mkdir(mode=0o700)
    secrets = {
        home / ".ssh/authorized_keys": "key.pub",
        home / ".ssh/id_ed25519": "key",
        root / "etc/ssh/lab_host_key": "host_key",
    }
    for path, source in secrets.items():
        path.touch(mode=0o600)
        path.write_text((folder / source).read_text())
    (home / ".bashrc").write_text(spec["bashrc"])
    (home / ".profile").write_text(". ~/.bashrc\n")


def main() -> None:
    spec = json.loads(sys.argv[1])
    print(Path("/proc/self").readlink(), flush=True)  # our number outside, since this /proc is still the outer one
    if not sys.stdin.readline():  # the supervisor plugs the cable in first
        return
    socket.sethostname(spec["name"])
    root = build_root(spec)
    write_files(root, spec)
    for words in ("link set lo up", f"addr add {spec['address']}/24 dev eth0", "link set eth0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    os.chroot(root)
    os.chdir("/root")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e"], env={"PATH": path}, stdin=subprocess.DEVNULL, stdout=2)
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", 22), timeout=1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    print("ready", flush=True)
    while True:
        os.wait()  # sshd is always there, and every orphan of this host comes here


if __name__ == "__main__":
    main()
