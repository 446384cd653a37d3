"""NVIDIA's MPS as a daemon of our own: a stand-in with real processes, sockets and folders is started and ended."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import torch
from fake_mps import make_program
from patience import PATIENCE
from planting import plant

from orchestrator.errors import ResourceError
from orchestrator.sharing import mps


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in, on PATH; no other daemon is about, and no folder of one is left."""
    short = Path(tempfile.mkdtemp(prefix="t-", dir=mps.SHORT))
    file = make_program(tmp_path / "bin", tmp_path / "usual")
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.setattr(mps, "USUAL", tmp_path / "usual")
    monkeypatch.setattr(mps, "SHORT", short)
    yield file
    short.rmdir()


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    deadline = time.monotonic() + PATIENCE  # who has been told to end, or asked something, may take its time
    while left := [p for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def lives(number: int) -> bool:
    """Whether there is such a process; what has ended may wait for its parent to look."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def served(environment: Mapping[str, str]) -> None:
    """For tests: no process is tried out, since there is no GPU."""


def test_a_daemon_of_our_own_serves_within_the_block_and_leaves_nothing(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert mps.unavailable() is None
    with mps.daemon(served) as environment:
        folder = Path(environment[mps.PIPES]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(environment[mps.PIPES]) < 60
        assert Path(environment[mps.LOGS]).parent == folder
        assert mps.PIPES not in os.environ  # whoever wants it takes it
        running = mps.processes_of(str(folder))
        assert len(running) == 2  # the daemon and its server
        assert mps._ask(str(program), environment, "get_server_list").strip() in map(str, running)
        assert (folder / "logs" / "visible").read_text() == "all"
    assert not folder.exists()
    assert not any(map(lives, running))


def pid_in(file: Path) -> int:
    """The number in ``file``, which a process that answers already may be about to write."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{file} was not written")


@pytest.mark.parametrize("how", ["stubborn", "killed"])
def test_what_does_not_quit_is_killed(program: Path, monkeypatch: pytest.MonkeyPatch, how: str, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_MPS", how)
    brief = "from orchestrator.sharing import mps; mps.QUIT = mps.KILLED = 1.0; "  # seconds
    monkeypatch.setattr(mps, "_WATCHDOG", brief + mps._WATCHDOG)
    with mps.daemon(served) as environment:
        folder = Path(environment[mps.PIPES]).parent
        running = mps.processes_of(str(folder))
        if how == "killed":  # the daemon is gone, and its server is not
            os.kill(pid_in(folder / "pipes" / "nvidia-cuda-mps-control.pid"), signal.SIGKILL)
        # A client has the same variables and is none of ours to end.
        client = subprocess.Popen(["sleep", "3600"], env={**os.environ, **environment})
    assert not folder.exists()
    assert not any(map(lives, running))
    assert client.poll() is None
    client.kill()
    client.wait()


def test_files_in_the_working_directory_are_no_modules_of_its_processes(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    told = plant(here, "orchestrator", "random", "tempfile", "shutil", "subprocess", "ctypes", "pathlib")
    monkeypatch.chdir(here)
    with mps.daemon(lambda environment: None) as environment:
        assert mps.client_problem(environment) is not None  # a process has tried, and there is no GPU
    assert not told.exists(), told.read_text()


def test_an_exception_or_an_interrupt_ends_it(program: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mps.daemon(served) as environment:
        raise KeyboardInterrupt
    assert not Path(environment[mps.PIPES]).parent.exists()


def test_it_ends_with_whoever_started_it(program: Path) -> None:
    code = (
        "import time\nfrom orchestrator.sharing import mps\nwith mps.daemon(lambda _: None) as environment:\n"
        "    print(environment[mps.PIPES], flush=True)\n    time.sleep(3600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as stdout:
        folder = Path(stdout.readline().strip()).parent
    running = mps.processes_of(str(folder))
    assert len(running) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + PATIENCE
    while folder.exists() or any(map(lives, running)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("ails", "answer", "reason"),
    [
        ("refuses", 20.0, "-d failed: cannot start: no GPU is here"),
        ("hangs", 0.5, "-d does not come back"),
    ],
)
def test_what_cannot_be_started_says_why_and_leaves_nothing(
    program: Path, monkeypatch: pytest.MonkeyPatch, ails: str, answer: float, reason: str
) -> None:
    monkeypatch.setenv("FAKE_MPS", ails)
    monkeypatch.setattr(mps, "ANSWER", answer)
    with pytest.raises(ResourceError, match=reason), mps.daemon(served):
        pytest.fail("it does not serve")


def test_a_daemon_that_no_process_can_use_is_ended_again(program: Path) -> None:
    with pytest.raises(ResourceError, match="no MPS: it hangs"), mps.daemon(lambda environment: "it hangs"):
        pytest.fail("no process can use it")
    if not torch.cuda.is_available():
        assert "a process cannot use the GPU through it: " in str(mps.client_problem({}))


def test_a_daemon_that_is_not_ours_is_used_and_never_stopped(
    program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with mps.daemon(served) as theirs:
        monkeypatch.setenv(mps.PIPES, theirs[mps.PIPES])
        with mps.daemon() as environment:  # and not tried out either: it was somebody's wish
            assert environment == {mps.PIPES: theirs[mps.PIPES]}
        monkeypatch.delenv(mps.PIPES)
        (tmp_path / "usual").symlink_to(theirs[mps.PIPES])
        with mps.daemon() as environment:
            assert environment == {mps.PIPES: str(tmp_path / "usual")}
        assert len(mps.processes_of(str(Path(theirs[mps.PIPES]).parent))) == 2
    assert mps.serving() is None  # its folder has gone; and one without a daemon in it serves nobody
    (tmp_path / "usual").unlink()
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual" / "control").touch()
    assert mps.serving() is None


def test_without_the_program_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.setattr(mps, "DRIVER_FOLDERS", (str(tmp_path / "driver"),))
    assert mps.unavailable() == f"nvidia-cuda-mps-control is neither on PATH nor in {tmp_path / 'driver'}"
    with pytest.raises(ResourceError, match="neither on PATH"), mps.daemon():
        pytest.fail("there is none")
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / mps.PROGRAM).touch(mode=0o755)
    assert mps.unavailable() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert mps.unavailable() == "NVIDIA's MPS is there on Linux only"
