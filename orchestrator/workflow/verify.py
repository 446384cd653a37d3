"""Launch an experiment twice, once with repeated kills, and compare the results: ``verify-resume``."""

import glob
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.experiment.reader import read_file
from orchestrator.records import varies
from orchestrator.text import counted
from orchestrator.tracking.content import launch_content
from orchestrator.tracking.store import connect
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder

EARLIEST, LATEST = 0.1, 0.8  # fractions of all epochs between which kills happen
WORKER = ("ray::ResourceTrainable", "ray::TrialWorker")  # process titles of Ray's training workers
# The progress line of a launch that is not on a terminal; a trial's name may have blanks in it, and has no colon.
_EPOCH = re.compile(r"^[\d:]+ ([^:\n]+: epoch \d+)/", re.MULTILINE)
LONGEST = 20  # times the undisturbed launch's duration, after which the killed one is given up


@dataclass(frozen=True)
class Verified:
    """What the kills have changed; ``differences`` is empty if nothing."""

    experiment: str
    seed: int
    kills: list[str]  # what was killed, in order
    differences: list[str]

    @property
    def equal(self) -> bool:
        """Whether weights, records and MLflow's content are those of the undisturbed launch."""
        return not self.differences


def verify(
    experiment: Path,
    overrides: Sequence[str],
    *,
    kills: int,
    seed: int | None,
    keep: Path | None,
    data_dir: Path,
    log: Callable[[str], None],
) -> Verified:
    """Run ``experiment`` without and with kills, and compare.

    The launches run in the working directory, so that paths mean what they mean to ``run``, and leave nothing there.
    """
    name = read_file(experiment, overrides).name
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    if keep is not None and keep.exists():
        raise StorageError(f"{keep} exists; give a new folder with --keep")
    home = (Path(tempfile.mkdtemp(prefix="verify-resume-")) if keep is None else keep).resolve()

    def arguments(folder: Path) -> list[str]:
        settings = [word for override in overrides for word in ("--set", override)]
        places = ["--storage", f"{folder / 'storage'}", "--tracking-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        # Files in the working directory must not replace Python's modules, unless this package itself is there.
        isolated = [] if Path(__file__).parents[2] == Path.cwd() else ["-P"]
        command = [sys.executable, *isolated, "-m", "orchestrator", "run", str(experiment), *settings]
        return [*command, "--data-dir", str(data_dir), *places]

    try:
        undisturbed, disturbed = home / "undisturbed", home / "disturbed"
        log(f"verify-resume {name}, seed {seed}: the undisturbed launch")
        started = time.monotonic()
        _run(arguments(undisturbed), undisturbed)
        seconds = time.monotonic() - started
        log(f"it took {seconds:.0f} s; now with {counted(kills, 'kill')}")
        epochs = max(1, _epochs_reported(undisturbed))
        done = _run_with_kills(arguments(disturbed), disturbed, kills, epochs, seconds, random.Random(seed), log)
        differences = compare(content(undisturbed, name), content(disturbed, name))
    finally:
        if keep is None:
            shutil.rmtree(home, ignore_errors=True)
    return Verified(name, seed, done, differences)


def _start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def kill_driver(process: "subprocess.Popen[Any]") -> None:
    """kill -9 a driver, and clean up what Ray leaves behind."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for orphan in psutil.wait_procs(family, timeout=5)[1]:
        with suppress(psutil.NoSuchProcess):
            orphan.kill()


def _run(command: list[str], folder: Path) -> None:
    process = _start(command, folder)
    try:
        code = process.wait()
    finally:
        kill_driver(process)
    if code not in (0, 1):  # 1: a trial failed, which can be compared as well
        raise OrchestratorError(f"the launch did not end well (exit code {code}):\n{_tail(folder)}")


def _run_with_kills(
    command: list[str], folder: Path, kills: int, epochs: int, seconds: float, stream: random.Random, log: Any
) -> list[str]:
    """Run and kill until there were ``kills`` kills or the launch has ended; returns what was killed, in order.

    A kill happens after a number of ``epochs`` that is drawn beforehand: however busy the machine is, the launch
    has made progress by then and is not finished.
    """
    done: list[str] = []
    targets = stream.sample(["driver", "worker"], 2)  # in turn
    moments = sorted(stream.uniform(EARLIEST, LATEST) * epochs for _ in range(kills))
    process = _start(command, folder)
    deadline = time.monotonic() + LONGEST * seconds + 60
    reported = 0
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise OrchestratorError(f"the launch does not end after its kills:\n{_tail(folder)}")
            time.sleep(0.05)
            now = _epochs_reported(folder)
            if (
                len(done) == kills or now <= reported or now < moments[len(done)]
            ):  # some training happens between two kills
                continue
            time.sleep(stream.random() * seconds / epochs)  # anywhere within an epoch
            target = targets[len(done) % 2]
            if target == "worker":
                try:
                    stream.choice(_workers(process)).kill()
                except (IndexError, psutil.NoSuchProcess):  # it has ended by itself
                    continue
            else:
                kill_driver(process)
                process = _start(command, folder)  # the same command again resumes
            done.append(target)
            reported = now
            killed = "the driver" if target == "driver" else "a worker"
            log(f"killed {killed} after {now} of {counted(epochs, 'epoch')}")
    finally:
        kill_driver(process)
    if process.returncode not in (0, 1):
        raise OrchestratorError(f"the launch did not end well (exit code {process.returncode}):\n{_tail(folder)}")
    return done


def _epochs_reported(folder: Path) -> int:
    """How many epochs the launch in ``folder`` has reported; one that was trained twice counts once."""
    said = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    return len(set(_EPOCH.findall(said)))


def _workers(driver: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The processes that are training for ``driver``."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(driver.pid).children(recursive=True):
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(WORKER):
                    found.append(process)
    return found


def _tail(folder: Path) -> str:
    return "\n".join((folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def content(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """The results of a launch by trial, without times: MLflow's content, the folder's records, the weights' digest."""
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    left = launch_content(client, name)
    for trial, found in left.items():
        for path in folder.glob(f"storage/{glob.escape(name)}/*/trials/{glob.escape(trial)}"):
            saved = TrialFolder(path)
            found["records"] = [
                (r.epoch, r.final, {k: v for k, v in r.metrics.items() if not varies(k)}) for r in saved.records()
            ]
            for file in (saved.best, saved.last):
                if file.exists():
                    found[f"weights in {file.name}"] = checkpoint.content_digest(checkpoint.load(file)["network"])
    return left


def compare(undisturbed: dict[str, dict[str, Any]], disturbed: dict[str, dict[str, Any]]) -> list[str]:
    """One line per difference."""
    differences = [f"{trial}: in one launch only" for trial in sorted(undisturbed.keys() ^ disturbed.keys())]
    for trial in sorted(undisturbed.keys() & disturbed.keys()):
        ours, theirs = undisturbed[trial], disturbed[trial]
        keys = sorted(ours.keys() | theirs.keys())
        differences += [f"{trial}: {key}" for key in keys if ours.get(key) != theirs.get(key)]
    return differences
