"""Facts about a machine, gathered with the standard library and psutil, on any node of a cluster.

The functions here are sent to the nodes by value, so that they also run where this package is missing or
another version.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.doctor.listening import listeners

PACKAGES = ("ray", "torch", "mlflow", "architecture-orchestrator")
PATIENCE = 15  # seconds for nvidia-smi, git, or CUDA's first touch of a GPU
_TRY_CUDA = "import torch; [torch.ones(1, device=f'cuda:{i}').item() for i in range(torch.cuda.device_count())] or 1/0"
_GPU_QUERY = "index,name,memory.total,memory.free,driver_version"


def gather(folders: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that the doctor judges about one machine; ``folders`` are local folders whose disks matter.

    Opens no port, leaves no files, and contacts no other machine. Sizes are in bytes.
    """
    ray_temp = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    shared = Path("/dev/shm")
    return {
        "host": socket.gethostname(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": {name: _version(name) for name in PACKAGES},
        "torch_cuda": _torch_cuda(),
        "source": source_digest(),
        "commit": _commit(),
        "gpus": _gpus(),
        "cuda_problem": _cuda_problem(),
        "disks": {place: _disk(Path(place)) for place in dict.fromkeys([*folders, ray_temp])},
        "ray_temp": ray_temp,
        "shared_memory": shutil.disk_usage(shared).total if shared.is_dir() else None,
        "memory": _memory(),
        "open_files": _open_files(),
        "token": _token(),
        "listeners": listeners(),
    }


def clock() -> float:
    """This machine's time, in seconds since 1970."""
    return time.time()


def source_digest() -> str:
    """sha256 (hexadecimal) over the Python files of the installed package; empty if it is not installed."""
    home = _package()
    if home is None:
        return ""
    content = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        content.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


def _package() -> Path | None:
    found = importlib.util.find_spec("orchestrator")  # a top-level name: finding it imports nothing
    return Path(found.origin).parent if found is not None and found.origin else None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit of the package's folder, with a + if files differ from it; empty without git."""
    home = _package()
    if home is None:
        return ""
    commit = _output("git", "-C", str(home), "rev-parse", "--short=10", "HEAD")
    tracked = commit and _output("git", "-C", str(home), "ls-files", "__init__.py")  # not some folder around .venv
    if not tracked:
        return ""
    return commit + ("+" if _output("git", "-C", str(home), "status", "--porcelain", ".") else "")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _torch_cuda() -> str:
    """The CUDA that torch was built for; empty for none. Read from its file: importing torch takes a second."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return ""
    version = Path(found.origin).with_name("version.py")
    text = version.read_text(encoding="utf-8") if version.is_file() else ""
    built_for = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return built_for[1] if built_for else ""


def _gpus() -> list[dict[str, Any]]:
    rows = []
    for line in _output("nvidia-smi", f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits").splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != len(_GPU_QUERY.split(",")):  # "No devices were found", and exit code 0
            continue
        index, name, total, free, driver = parts
        sizes = [int(size) * 2**20 if size.isdigit() else None for size in (total, free)]  # nvidia-smi counts MiB
        rows.append({"index": index, "name": name, "total": sizes[0], "free": sizes[1], "driver": driver})
    return rows


def _cuda_problem() -> str:
    """Why torch cannot use this machine's GPUs; empty if it can or if there are none."""
    devices = Path("/proc/driver/nvidia/gpus")
    if not shutil.which("nvidia-smi") and not devices.is_dir():
        return ""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY_CUDA], capture_output=True, text=True, timeout=60, env=environment
        )
    except subprocess.TimeoutExpired:
        return "torch did not reach the GPU within 60 seconds"
    if tried.returncode == 0:
        return ""
    last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return "torch sees no GPU" if "ZeroDivisionError" in last else last


def _disk(place: Path) -> dict[str, Any]:
    existing = next((path for path in (place, *place.absolute().parents) if path.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return {"total": usage.total, "free": usage.free}


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _open_files() -> list[int]:
    """The number of files that this process may open, and the limit up to which it may raise that."""
    import resource

    return [2**31 if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE)]


def _token() -> dict[str, Any]:
    """Where Ray would find its token, in Ray's own order; never the token itself."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    known: dict[str, Any] = {"mode": os.environ.get("RAY_AUTH_MODE", "").lower(), "file": "", "file_mode": None}
    known["source"] = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else ""
    if path.is_file():
        known.update(file=str(path), file_mode=stat.S_IMODE(path.stat().st_mode))
        known["source"] = known["source"] or str(path)
    return known
