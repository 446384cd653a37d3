"""Checks of a machine: GPU, disks, shared memory, open files, and who can read Ray's token."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.checks.check import Outcome, Request, failure, ok, warning
from orchestrator.text import last_line

CUDA_TIMEOUT = 60  # seconds for importing torch and using each GPU
LITTLE_DISK, NO_DISK = 5e9, 0.5e9  # bytes; the first is enough for a few checkpoints and figures
FULLEST = 0.95  # of the disk with Ray's temporary files: above it Ray refuses to spill objects
OBJECT_STORE = 0.3  # of the memory: what Ray takes for its object store by default
MOST_OBJECT_STORE = 200e9  # bytes, and no more than this
FEWEST_FILES = 65_536  # open files; Ray's own advice for a busy node
_LIST_GPUS = """import json, torch
def use(i):
    torch.ones(1, device=f"cuda:{i}").item()
    return torch.cuda.get_device_name(i), *torch.cuda.mem_get_info(i)
print(json.dumps([use(i) for i in range(torch.cuda.device_count())]))"""


def gpu(request: Request) -> Iterator[Outcome]:
    """Whether torch can use the machine's NVIDIA GPUs, and whether their memory is free."""
    if not shutil.which("nvidia-smi") and not Path("/proc/driver/nvidia/gpus").is_dir():
        yield ok("no NVIDIA GPU: trials run on the CPU")
        return
    command = [sys.executable, "-P", "-c", _LIST_GPUS]
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CUDA_TIMEOUT, env=environment)
        gpus = [] if done.returncode else json.loads(last_line(done.stdout))
        problem = last_line(done.stderr, "no reason given") if done.returncode else ""
    except subprocess.TimeoutExpired:
        gpus, problem = [], f"torch did not reach the GPU within {CUDA_TIMEOUT} seconds"
    if problem or not gpus:
        advice = "nvidia-smi    (then a driver that supports torch's CUDA: sudo ubuntu-drivers install)"
        yield failure(problem or "torch sees no GPU", advice)
        return
    text = "; ".join(f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free" for name, free, total in gpus)
    busy = any(free < total / 2 for _, free, total in gpus)
    yield warning(text, "nvidia-smi    (shows who uses the memory)") if busy else ok(text)


def disk(request: Request) -> Iterator[Outcome]:
    """Free space of the storage's disk, if it is local."""
    if "://" not in request.storage:
        yield _free_space(request.storage)


def temporary_disk(request: Request) -> Iterator[Outcome]:
    """Free space where Ray keeps its temporary files, and objects for which there is no memory."""
    place = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if request.object_store is None:  # no node of a cluster: a Ray of our own may take another folder
        from orchestrator.errors import ResourceError
        from orchestrator.scheduling.ray_folder import choose

        try:
            place = str(choose()[0])
        except ResourceError:
            return  # another check says so
    yield _free_space(place, spilled=True)


def _free_space(place: str, spilled: bool = False) -> Outcome:
    """Of the disk with ``place``; ``spilled``: Ray moves objects there, up to a limit of its own."""
    existing = next(path for path in (Path(place), *Path(place).absolute().parents) if path.exists())
    usage = shutil.disk_usage(existing)
    text = f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.0f} at {place}"
    advice = f"free some: du -xh {place} | sort -h | tail"
    full = spilled and usage.total > 0 and usage.free / usage.total < 1 - FULLEST
    if usage.free < NO_DISK:
        return failure(text, advice)
    if usage.free < LITTLE_DISK or full:
        why = f"; Ray stops spilling at {100 * FULLEST:.0f} % full" if full else ""
        return warning(text + why, advice)
    return ok(text)


def shared_memory(request: Request) -> Iterator[Outcome]:
    """Whether /dev/shm has room for the object store."""
    shared = Path("/dev/shm")
    if not shared.is_dir():  # not Linux: Ray uses files there
        return
    import psutil

    size = shutil.disk_usage(shared).total
    needed = request.object_store or min(OBJECT_STORE * psutil.virtual_memory().total, MOST_OBJECT_STORE)
    text = f"{size / 1e9:.1f} GB for an object store of {needed / 1e9:.1f} GB"
    if size >= needed:
        yield ok(text)
    else:
        advice = f"sudo mount -o remount,size={needed * 1.1 / 1e9:.0f}G /dev/shm    (in Docker: --shm-size)"
        yield warning(f"{text}: Ray falls back to the disk", advice)


def open_files(request: Request) -> Iterator[Outcome]:
    """How many files this process may open."""
    import resource

    soft, hard = (2**31 if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft >= FEWEST_FILES:
        yield ok("no limit" if soft >= 2**31 else f"{soft:,}")
        return
    command = f"ulimit -n {FEWEST_FILES}"
    if hard < FEWEST_FILES:
        command = f"sudo prlimit --pid $$ --nofile={FEWEST_FILES}:{FEWEST_FILES}"
    yield warning(f"{soft:,}, fewer than {FEWEST_FILES:,}", f"{command}    (before Ray is started)")


def token_file(request: Request) -> Iterator[Outcome]:
    """Whether others can read the file of Ray's token, if there is one; the token itself is not read."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not path.is_file():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        text = f"{path} can be read by others (mode {mode:04o}): they could run code as you"
        yield failure(text, f"chmod 600 {path}")
    else:
        yield ok(f"{path}, mode {mode:04o}")
