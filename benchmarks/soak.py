"""Launches of forty trials by ASHA, killed again and again: what they leave against what was never disturbed.

``soak.py --kills 60 --seed S``: workers, drivers and raylets are killed at random moments while something trains. ASHA
decides by the order of results, so its decisions are held against its rule on that order, and each trial's weights and
records against the same trial trained alone up to the epoch at which it ended; in MLflow, every epoch stands once.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from soak_truth import EPOCHS, TRIALS, differences

from orchestrator.data import Dataset, Split, save_packed
from orchestrator.workflow.verify import WORKER, kill_driver

PATIENCE = 300.0  # seconds without anything new after which a launch is given up
TARGETS = ("worker", "driver", "raylet")
NETWORK = '''
import os
import time

import torch.nn as nn


class Tiny(nn.Module):
    """A few hundred parameters, with the dropout and normalisation that make exactness hard."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=4), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(6, num_classes),
        )

    def forward(self, x):
        if self.training:
            time.sleep(float(os.environ.get("SOAK_PACE", "0")))
        return self.net(x)
'''
EXPERIMENT = """
name: soak
variants: ["{network}:Tiny"]
seeds: {seeds}
dataset: {{name: "{data}"}}
scheduler: {{name: asha, grace_period: 1, reduction_factor: 2}}
trainer: {{epochs: {epochs}, batch_size: 32, optimizer: {{lr: 0.1}}, augmentation: [{{HorizontalFlip: {{p: 0.5}}}}]}}
tracking: {{reports: none, models: none}}
"""


def prepare(folder: Path, seed: int) -> Dataset:
    """Write the network, the dataset (noise with a bright corner that tells the class) and the experiment."""
    stream = torch.Generator().manual_seed(seed)

    def split(count: int) -> Split:
        labels = torch.arange(3).repeat(count)
        images = torch.randint(0, 200, (len(labels), 3, 16, 16), generator=stream, dtype=torch.uint8)
        for position, label in enumerate(labels.tolist()):
            images[position, label, :8, :8] += 40
        return Split(images, labels)

    folder.mkdir(parents=True)
    dataset = Dataset("tiny", split(60), split(20), ("a", "b", "c"))
    save_packed(dataset, folder / "tiny.pt")
    (folder / "network.py").write_text(NETWORK)
    seeds = [seed % 1000 + i for i in range(TRIALS)]
    (folder / "soak.yaml").write_text(
        EXPERIMENT.format(network=folder / "network.py", data=folder / "tiny.pt", seeds=seeds, epochs=EPOCHS)
    )
    return dataset


class Disturbed:
    """One launch that is killed and resumed by the same command, until it has ended."""

    def __init__(self, folder: Path, pace: float, stream: random.Random, say: Callable[[str], None]) -> None:
        self.folder, self.stream, self.say = folder, stream, say
        self.environment = {**os.environ, "SOAK_PACE": str(pace), "OMP_NUM_THREADS": "1"}
        self.kills: list[str] = []
        self.findings: list[str] = []

    def run(self, kills: int) -> None:
        """Start, strike up to ``kills`` times, resume; raises RuntimeError if a launch neither ends nor goes on."""
        process, news = self._start(), time.monotonic()
        told = self._said()
        moment = time.monotonic() + self.stream.uniform(0, 4)
        try:
            while process.poll() is None:
                time.sleep(0.05)
                if self._said() != told:
                    told, news = self._said(), time.monotonic()
                if time.monotonic() - news > PATIENCE:
                    raise RuntimeError(f"nothing new for {PATIENCE:.0f} s:\n{self._tail()}")
                if len(self.kills) == kills or time.monotonic() < moment:
                    continue
                struck = self._strike(process)
                if struck is None:
                    continue
                self.kills.append(struck)
                if struck != "worker":
                    process, news = self._start(), time.monotonic()
                moment = time.monotonic() + self.stream.uniform(0, 4)
        finally:
            kill_driver(process)
        if process.returncode != 0:
            self.findings.append(f"the launch ended with exit code {process.returncode}:\n{self._tail()}")

    def _strike(self, process: "subprocess.Popen[bytes]") -> str | None:
        """Kill something while something trains; None if nothing does."""
        family = [(child, words) for child in self._family(process) if (words := _words(child))]
        training = [child for child, words in family if words.startswith(WORKER) and words.endswith(".train")]
        target = self.stream.choice(TARGETS)
        if not training:
            return None
        if target == "driver":
            kill_driver(process)
            return target
        victims = training if target == "worker" else [c for c, words in family if "raylet/raylet" in words[:400]]
        if not victims:
            return None
        with suppress(psutil.NoSuchProcess):
            self.stream.choice(victims).kill()
        if target == "raylet":
            try:
                process.wait(timeout=120)  # the driver's own Ray is gone: it must end by itself
            except subprocess.TimeoutExpired:
                self.findings.append(f"120 s after its raylet was killed, a driver had not ended:\n{self._tail()}")
            kill_driver(process)
        return target

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "orchestrator", "run", "soak.yaml"]
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def _family(self, process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(process.pid).children(recursive=True)
        return []

    def _said(self) -> int:
        return (self.folder / "output.txt").stat().st_size

    def _tail(self) -> str:
        return "\n".join((self.folder / "output.txt").read_text(errors="replace").splitlines()[-15:])


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def soak(kills: int, seed: int, hours: float, each: int, pace: float, keep: bool, say: Callable[[str], None]) -> Any:
    """Launches until ``kills`` have struck or ``hours`` are over: the kills, and one line for each difference."""
    torch.set_num_threads(1)  # as each trial of the launch
    stream, ends = random.Random(seed), time.monotonic() + 3600 * hours
    struck: list[str] = []
    found: list[str] = []
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    while len(struck) < kills and time.monotonic() < ends:
        folder = home / f"launch-{len(list(home.iterdir()))}"
        dataset = prepare(folder, stream.randrange(2**31))
        launch = Disturbed(folder, pace, stream, say)
        launch.run(min(each, kills - len(struck)))
        struck += launch.kills
        new = [*launch.findings, *differences(folder, dataset)]
        found += [f"{folder.name}: {line}" for line in new]
        say(f"{folder.name}: {dict(Counter(launch.kills))}, {len(new)} differences")
        if not launch.kills:
            raise RuntimeError("no kill has struck: a launch ends too soon; give a larger --pace")
    if not keep and not found:
        shutil.rmtree(home)
    else:
        say(f"the launches are in {home}")
    return {"seed": seed, "kills": dict(Counter(struck)), "differences": found}


def main() -> int:
    """Read the arguments, soak, print; 1 if anything differs."""
    parser = argparse.ArgumentParser(description="kill launches at random and hold what they leave against the truth")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--hours", type=float, default=24.0, help="begin no launch after so many")
    parser.add_argument("--each", type=int, default=15, help="kills in one launch")
    parser.add_argument("--pace", type=float, default=0.15, help="seconds that each batch takes longer")
    parser.add_argument("--keep", action="store_true", help="keep the launches")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    given = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    say(f"seed {given.seed}")
    verdict = soak(given.kills, given.seed, given.hours, given.each, given.pace, given.keep, say)
    if given.json:
        print(json.dumps(verdict))
    for line in verdict["differences"]:
        say(f"  differs: {line}")
    say(f"{sum(verdict['kills'].values())} kills {verdict['kills']}, {len(verdict['differences'])} differences")
    return 1 if verdict["differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
