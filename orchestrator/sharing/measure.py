"""How fast several processes train side by side on one device, and how much of its memory each of them takes."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.spec import TrialSpec
from orchestrator.text import last_line

ENDS = 2  # of epochs: before the window, until memory and kernels are settled, and in it, so that one lies between
PATIENCE = 120.0  # seconds until all processes are warm: each imports torch, and cores may be few
ENDING = 10.0  # seconds that a process has to end its epoch, and a killed one to be gone
_PROCESS = "from orchestrator.sharing.process import main; main()"


@dataclass(frozen=True)
class Throughput:
    """What was measured of some processes that train side by side."""

    images_per_second: float  # of all processes together; 0 if one of them failed
    bytes_each: int  # of the GPU's memory, at the peak, with a process's CUDA context; 0 on a CPU
    failed: int  # processes that ended early, or did not train in time
    reason: str = ""  # why the first of them failed
    bytes_total: int = 0  # of the GPU's memory in all; 0 on a CPU


def side_by_side(
    spec: TrialSpec,
    shape: tuple[int, int, int],
    classes: int,
    count: int,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Throughput:
    """Train ``spec`` in ``count`` processes at once for ``seconds``, on random images of ``shape`` (3, H, W).

    Each process runs the whole trial, checkpoints and validation included, and gets ``environment`` (MPS's variables,
    say) on top of this process's own. The window begins when all have trained two epochs. Measured is what each
    trains between the first and the last end of an epoch in it, so it is prolonged until each has trained a whole one.
    A process that fails ends the measurement; all are gone when this returns, which takes ``patience`` seconds for
    the warm-up, and as many for the window beyond its own, at the longest.
    """
    messages: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
    reports: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    request = {"spec": spec.to_json(), "shape": shape, "classes": classes}
    with _processes(request, count, environment or {}, messages):
        deadline, begin = time.monotonic() + patience, 0.0
        while True:
            left = deadline - time.monotonic()
            try:
                process, line = messages.get(timeout=left) if left > 0 else messages.get_nowait()
            except queue.Empty:
                left = 0.0
            if left <= 0:
                late = sum(len(_since(begin, lines)) < ENDS for lines in reports)
                return Throughput(0.0, _bytes_each(reports), late, f"no epoch ended within {patience:.0f} s")
            if "failed" in line:
                more = {process, *(other for other, later in list(messages.queue) if "failed" in later)}
                return Throughput(0.0, _bytes_each(reports), len(more), line["failed"], _bytes_total(reports))
            reports[process].append(line)
            if not begin and all(len(lines) >= ENDS for lines in reports):
                begin = max(lines[-1]["at"] for lines in reports)
                deadline = begin + seconds + patience
            if begin and line["at"] >= begin + seconds and all(len(_since(begin, lines)) >= ENDS for lines in reports):
                break
    rate = sum(_rate(_since(begin, lines)) for lines in reports)
    return Throughput(rate, _bytes_each(reports), 0, bytes_total=_bytes_total(reports))


def _since(begin: float, lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["at"] >= begin]


def _rate(ends: Sequence[Mapping[str, Any]]) -> float:
    """Images a second between the first and the last of some ends of epochs."""
    images = sum(end["images"] for end in ends[1:])
    return float(images / (ends[-1]["at"] - ends[0]["at"]))


def _bytes_each(reports: Sequence[Sequence[Mapping[str, Any]]]) -> int:
    """What the largest process has reserved, and its part of what is used beyond: CUDA contexts and libraries."""
    reserved = [max((line["reserved"] for line in lines), default=0) for lines in reports]
    used = max((line["used"] for lines in reports for line in lines), default=0)
    return max(reserved) + max(0, used - sum(reserved)) // len(reports)


def _bytes_total(reports: Sequence[Sequence[Mapping[str, Any]]]) -> int:
    return max((int(line["total"]) for lines in reports for line in lines), default=0)


@contextmanager
def _processes(
    request: Mapping[str, Any],
    count: int,
    environment: Mapping[str, str],
    messages: "queue.Queue[tuple[int, dict[str, Any]]]",
) -> Iterator[None]:
    """Inside this block ``count`` processes train; ``messages`` gets the number of each and what it writes."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *(entry or str(Path.cwd()) for entry in sys.path)])
    whole = {**os.environ, **environment, "PYTHONPATH": path}
    started: list[tuple[subprocess.Popen[str], threading.Thread]] = []
    with tempfile.TemporaryDirectory(prefix="side-by-side-", ignore_cleanup_errors=True) as home:
        try:
            for number in range(count):
                errors = Path(home) / f"{number}.log"
                with errors.open("w") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-P", "-c", _PROCESS],
                        env=whole,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        start_new_session=True,  # an interrupt from the keyboard is for us: we end them
                    )
                assignment = {**request, "folder": str(Path(home) / str(number)), "number": number}
                thread = threading.Thread(
                    target=_listen, args=(number, process, assignment, errors, messages), daemon=True
                )
                started.append((process, thread))
                thread.start()
            yield
        finally:
            _end(started)


def _end(started: "Sequence[tuple[subprocess.Popen[str], threading.Thread]]") -> None:
    """Ask all to end with their epoch, since who is killed while it computes can harm others under MPS; then kill."""
    for process, _ in started:
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
    deadline = time.monotonic() + ENDING
    try:
        for _, thread in started:  # each ends with its process, which is not waited for: its number stays its own
            thread.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process, thread in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started itself
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the driver cannot be ended
                process.wait(ENDING)
            thread.join(ENDING)


def _listen(
    number: int,
    process: "subprocess.Popen[str]",
    request: Mapping[str, Any],
    errors: Path,
    messages: "queue.Queue[tuple[int, dict[str, Any]]]",
) -> None:
    """Send the process its request, and put every line that it writes, and its end, into ``messages``."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError, ValueError):  # it has ended already, or is to end
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()  # and left open: the process ends when this one has gone
    with process.stdout as stdout:
        for line in stdout:
            with suppress(ValueError):  # cut off, when it was killed
                messages.put((number, json.loads(line)))
    with suppress(OSError):  # of a measurement that is over, the folder may be gone
        last = last_line(errors.read_text(errors="replace"), "it ended without a message")
        messages.put((number, {"failed": last}))
