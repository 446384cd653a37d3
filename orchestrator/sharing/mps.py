"""NVIDIA's Multi-Process Service (MPS), by which processes compute on one GPU at once, as a daemon of our own.

Without it the processes on a GPU take turns. The daemon has a folder of its own and no setting of the machine is
touched. A second process of ours, a watchdog, ends it when this one has ended, however that came about.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import ResourceError
from orchestrator.text import last_line

PROGRAM = "nvidia-cuda-mps-control"
PROCESSES = "nvidia-cuda-mps"  # how the names of the daemon and its servers begin
DRIVER_FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/local/nvidia/bin", "/usr/local/cuda/bin", "/opt/nvidia/bin")
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
USUAL = Path("/tmp/nvidia-mps")  # where a daemon listens by default
SHORT = Path("/tmp")  # a socket's whole path must stay below 108 characters
ANSWER = 20.0  # seconds for the daemon to start or to answer
QUIT = 10.0  # seconds for it to end by itself, once its clients are gone
KILLED = 2.0  # seconds between asking the system to end it and insisting
POLL = 0.05  # seconds
_WATCHDOG = "import sys; from orchestrator.sharing.mps import watch; watch(sys.argv[1], sys.argv[2])"
_CLIENT = """
import ctypes

cuda = ctypes.CDLL("libcuda.so.1")

def check(code):
    if code:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(name))
        raise SystemExit((name.value or b"error %d" % code).decode())

device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
check(cuda.cuInit(0))
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
check(cuda.cuCtxSetCurrent(context))
check(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(2**20)))
check(cuda.cuCtxSynchronize())
"""


def unavailable() -> str | None:
    """Why no daemon can be started here, or None; that one can be started does not say that it will serve."""
    if serving() is not None:
        return None
    if sys.platform != "linux":
        return "NVIDIA's MPS is there on Linux only"
    return None if _program() else f"{PROGRAM} is neither on PATH nor in {', '.join(DRIVER_FOLDERS)}"


def serving() -> dict[str, str] | None:
    """The variables by which processes reach a daemon that is not ours, or None if there is none."""
    if os.environ.get(PIPES):
        return {name: os.environ[name] for name in (PIPES, LOGS) if os.environ.get(name)}
    program = _program()
    if program and (USUAL / "control").exists() and _ask(program, {PIPES: str(USUAL)}, "get_server_list") is not None:
        return {PIPES: str(USUAL)}
    return None


def client_problem(environment: Mapping[str, str]) -> str | None:
    """Why a process with these variables cannot use a GPU through the daemon, or None."""
    code, text = _run([sys.executable, "-P", "-c", _CLIENT], environment)
    if code is None:
        return f"a process that uses the GPU through it hangs for {ANSWER:.0f} s"
    if code:
        return f"a process cannot use the GPU through it: {last_line(text, 'it ended')}"
    # CUDA says nothing if it does not find the daemon, and goes on without it.
    log = Path(environment.get(LOGS, USUAL)) / "control.log"
    program = _program()
    has_server = program is not None and (_ask(program, environment, "get_server_list") or "").strip()
    if has_server or (log.exists() and "NEW CLIENT" in log.read_text(errors="replace")):
        return None
    return "processes do not reach it"


@contextmanager
def daemon(problem: Callable[[Mapping[str, str]], str | None] = client_problem) -> Iterator[dict[str, str]]:
    """Inside this block MPS serves; yields the variables that a process must have before it uses CUDA.

    A daemon that serves already is used, and left alone. ``problem`` says why a process with these variables cannot
    use one of our own. Raises ResourceError if it cannot be started or used; what was started is ended then, too.
    """
    if (foreign := serving()) is not None:
        yield foreign
        return
    program = _program()
    if (why := unavailable()) is not None or program is None:
        raise ResourceError(f"no MPS: {why}")
    folder = Path(tempfile.mkdtemp(prefix="mps-", dir=SHORT if SHORT.is_dir() else None))  # for this user only
    environment = {PIPES: str(folder / "pipes"), LOGS: str(folder / "logs")}
    watchdog = subprocess.Popen(
        [sys.executable, "-P", "-c", _WATCHDOG, program, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt from the keyboard is for us
    )
    try:
        (folder / "pipes").mkdir()
        (folder / "logs").mkdir()
        code, text = _run([program, "-d"], environment)
        if code != 0:
            what = "does not come back" if code is None else f"failed: {text.strip() or f'exit code {code}'}"
            raise ResourceError(f"no MPS: {program} -d {what}")
        if (found := problem(environment)) is not None:
            raise ResourceError(f"no MPS: {found}")
        yield environment
    finally:
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        try:
            watchdog.wait(ANSWER + QUIT + 2 * KILLED)
        except subprocess.TimeoutExpired:
            watchdog.kill()


def watch(program: str, folder: str) -> None:
    """The watchdog's whole life: wait until whoever started it lets go of its stdin, then end what serves there."""
    sys.stdin.buffer.read()
    try:
        if processes_of(folder):
            _ask(program, {PIPES: f"{folder}/pipes", LOGS: f"{folder}/logs"}, "quit", QUIT)
        _until_gone(folder, QUIT)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes_of(folder):
                with suppress(OSError):
                    os.kill(process, number)
            _until_gone(folder, KILLED)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: str) -> list[int]:
    """The daemon and the servers that were started with our ``folder``; what else has its variables is a client."""
    variable = f"{PIPES}={folder}/pipes".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if (
                PROCESSES.encode() in (place / "cmdline").read_bytes()
                and variable in (place / "environ").read_bytes().split(b"\0")
                and int(place.name) != os.getpid()
            ):
                found.append(int(place.name))
    return found


def _until_gone(folder: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(POLL)


def _program() -> str | None:
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(DRIVER_FOLDERS))


def _ask(program: str, environment: Mapping[str, str], command: str, seconds: float | None = None) -> str | None:
    """What the daemon answers within ``seconds``, ANSWER by default; None if it does not."""
    code, text = _run([program], environment, command + "\n", seconds)
    return None if code != 0 else text


def _run(
    command: list[str], environment: Mapping[str, str], stdin_text: str = "", seconds: float | None = None
) -> tuple[int | None, str]:
    """The exit code, None if it did not end within ``seconds`` (ANSWER by default), and what was written.

    Through files: a daemon may keep what it inherits open for ever.
    """
    whole = {**os.environ, **environment}
    if Path(command[0]).name == PROGRAM:
        whole.pop("CUDA_VISIBLE_DEVICES", None)  # a server numbers its GPUs anew: clients would mean others than it
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+", errors="replace") as output:
        stdin.write(stdin_text)
        stdin.seek(0)
        with suppress(OSError):
            process = subprocess.Popen(
                command, env=whole, stdin=stdin, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code: int | None = process.wait(ANSWER if seconds is None else seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    process.kill()
                    with suppress(subprocess.TimeoutExpired):  # one that hangs in the driver cannot be ended
                        process.wait(KILLED)
            output.seek(0)
            return code, output.read()
    return -1, "it cannot be executed"
