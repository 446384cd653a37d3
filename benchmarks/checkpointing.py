"""What persisting an epoch costs, in bytes and in time, against none. Run: python benchmarks/checkpointing.py.

An epoch stands still for a second; then its state is handed over as under Ray, in the current folder, and written
while the next one stands still. Every other one is the best so far. Bytes are those that the process writes, held
against 1.3 times the state's file.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import Comparison, arguments, interleaved, report
from torch import nn

from orchestrator.architectures import build_network
from orchestrator.files import unsynced
from orchestrator.records import Record
from orchestrator.scheduling.checkpoints import save_checkpoint
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.training.device import place
from orchestrator.training.learner import Learner
from orchestrator.trial import BackgroundWriter, TrialFolder
from orchestrator.trial.run import write_in_background

EPOCH = 1.0  # seconds
MOST_TIME = 1.03  # of an epoch's, with persisting
MOST_BYTES = 1.3  # of the state's file


def resnet50() -> nn.Module:
    """torchvision's, for ten classes."""
    from torchvision.models import resnet50

    network: nn.Module = resnet50(num_classes=10)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {"stride": partial(build_network, "stride"), "resnet50": resnet50}


class Trial:
    """A trial that learns nothing, in ``folder``."""

    def __init__(self, network: nn.Module, folder: Path) -> None:
        recipe = Recipe(epochs=1_000_000)
        self.learner = Learner.build(network, recipe, place(recipe, network), batches=1)
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.learner.optimizer.step()  # it has its moments now
        self.root = folder
        self.folder = TrialFolder.create(folder / "working", TrialSpec(variant="stride"))
        self.writer = BackgroundWriter(self.keep)
        self.before = written()
        self.bytes: list[float] = []
        self.state = 0  # bytes of its file: most after an epoch that is not the best, since it holds those weights too

    def persist(self) -> None:
        """Finish an epoch, and have it kept as the worker does."""
        epoch = self.learner.epoch + 1
        record = Record(epoch, time.time(), {})
        self.learner.keep(record, accuracy=float(epoch // 2), loss=1.0)
        with unsynced():
            write_in_background(self.writer, self.folder, self.learner, record)

    def keep(self) -> None:
        """What follows in the thread that writes."""
        save_checkpoint(self.folder.path, self.root / "kept")
        now = written()
        self.bytes.append(now - self.before)
        self.before = now
        self.state = max(self.state, self.folder.last.stat().st_size)


def written() -> int:
    """Bytes that this process has written so far."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def epoch(trial: Trial | None, seconds: float = EPOCH) -> float:
    """Seconds of an epoch; with ``trial`` it is handed over, and waits for the one before."""
    begun = time.perf_counter()
    time.sleep(seconds)
    if trial is not None:
        trial.persist()
    return time.perf_counter() - begun


def compare(name: str, folder: Path, repeats: int, seconds: float = EPOCH) -> list[Comparison]:
    """Time and bytes of one network's epochs."""
    trial = Trial(NETWORKS[name](), folder)
    for _ in range(2):  # what later epochs write over is made
        epoch(trial, seconds)
    ours, theirs = interleaved(partial(epoch, trial, seconds), partial(epoch, None, seconds), repeats)
    trial.writer.wait()
    allowed = [MOST_BYTES * trial.state / 1e6] * len(trial.bytes)
    megabytes = [count / 1e6 for count in trial.bytes]
    unit = f"MB an epoch, of 1.3 states of {trial.state / 1e6:.1f} MB"
    return [
        Comparison(f"{name}, time", ours, theirs, "s an epoch", 1 / MOST_TIME),
        Comparison(f"{name}, bytes", megabytes, allowed, unit, 1.0),
    ]


def main() -> int:
    """Both networks, on the disk of this folder."""
    flags = arguments(__doc__ or "")
    comparisons: list[Comparison] = []
    for name in NETWORKS:
        with tempfile.TemporaryDirectory(prefix="checkpointing-", dir=Path.cwd()) as folder:
            comparisons += compare(name, Path(folder), flags.repeats)
    return report("checkpointing", comparisons, as_json=flags.json)


if __name__ == "__main__":
    sys.exit(main())
