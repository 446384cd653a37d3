"""Part of the GPU benchmark: recorded steps give the bits of computed ones, whole or interrupted."""

import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_common import NO_TIME, Setting, random_images, recipe, refusals, spec, warnings_kept

from orchestrator.data import Dataset
from orchestrator.records import varies
from orchestrator.spec import Optimizer, Recipe, Schedule, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial

# The reasons, or parts of them, for which these are computed: it would be a fault if they were recorded.
COMPUTED = {
    "cycle_momentum by batch": "decided on the host",
    "float16": "decided on the host",
    "Counts": "Counts.calls",
    "Draws": "on the host (from random)",
    "Waits": "",  # torch's own words
    "Replaces": "makes or replaces the buffer",
}
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "muon")
NETWORKS = """
import random
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, num_classes)
        self.calls = 0
        self.scale = 1.0

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Counts(Plain):
    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1.0 if self.calls % 2 else 0.5)

class Draws(Plain):
    def forward(self, x):
        return super().forward(x) * (1.0 if random.random() < 0.5 else 0.5)

class Waits(Plain):
    def forward(self, x):
        y = super().forward(x)
        return y if y.mean().item() < 100 else y * 0.5

class Replaces(Plain):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.register_buffer("level", torch.ones(8))
        self.register_buffer("mask", None, persistent=False)

    def forward(self, x):
        if self.mask is None:
            self.mask = torch.full((8,), 0.5, device=x.device)
        y = self.body(x).mean((2, 3))
        if self.training:
            self.level = 0.9 * self.level + 0.1 * y.detach().float().abs().mean(0)
        return self.head(y * self.level * self.mask)

class DrawsOnDevice(Plain):
    def forward(self, x):
        y = super().forward(x)
        return y * (torch.rand(len(y), 1, device=y.device) < 0.9)

class AlwaysDraws(Plain):
    def forward(self, x):
        return self.head(torch.nn.functional.dropout(self.body(x).mean((2, 3)), 0.3, training=True))
"""


def cases(device: str, smoke: bool) -> dict[str, tuple[str, Recipe]]:
    """Every variant, optimiser and setting that reaches into a step."""
    from orchestrator.architectures import VARIANTS

    base: dict[str, Any] = {"epochs": 2, "batch_size": 128}
    found = {variant: (variant, recipe(device, **base)) for variant in (list(VARIANTS)[:1] if smoke else VARIANTS)}
    for name in OPTIMIZERS:
        found[name] = "grouped_concat", recipe(device, **base, optimizer=Optimizer(name=name, lr=0.01))  # type: ignore[arg-type]
    more: dict[str, dict[str, Any]] = {
        "clipped, penalties": {"gradient_clip": 0.5, "l1": 1e-5, "l2": 1e-5},
        "cycle_momentum by epoch": {"schedule": Schedule(name="onecycle", interval="epoch", cycle_momentum=True)},
        "cycle_momentum by batch": {"schedule": Schedule(name="onecycle", cycle_momentum=True)},
        "plateau": {"schedule": Schedule(name="plateau", patience=0)},
        "float32": {"precision": "float32"},
        "float16": {"precision": "float16"} if device == "cuda" else {},
        "drop_last": {"drop_last": True},
        "one batch": {"batch_size": 4096},
        "decay of kernels": {"optimizer": Optimizer(lr=0.1, decay_vectors=False)},
    }
    found |= {name: ("grouped_concat", recipe(device, **{**base, **changes})) for name, changes in more.items()}
    return found


def run(trial: TrialSpec, dataset: Dataset, cut: bool = False) -> tuple[str, list[Any]]:
    """The digest of the last weights and everything recorded but times; ``cut``: lost after its first epoch."""
    with tempfile.TemporaryDirectory(prefix="equality-") as made:
        folder = Path(made) / "trial"
        if cut:
            running = run_trial(trial, dataset, folder)
            next(running)
            running.close()
        list(run_trial(trial, dataset, folder))
        records = TrialFolder(folder).records()
        exact = [{k: v for k, v in record.metrics.items() if not varies(k)} for record in records]
        state = checkpoint.load(TrialFolder(folder).last)
        return checkpoint.content_digest([state["network"], state["best"]["weights"]]), exact


def equality(setting: Setting) -> dict[str, Any]:
    """Each case computed, recorded, and recorded but interrupted."""
    return compare(setting, cases(setting.device, setting.smoke))


def networks(setting: Setting) -> dict[str, Any]:
    """Those that draw, count, wait or replace a buffer cannot be recorded: they are computed, and one line says why."""
    with tempfile.TemporaryDirectory(prefix="networks-") as made:
        file = Path(made) / "networks.py"
        file.write_text(NETWORKS)
        names = ("Plain", "Counts", "Draws", "Waits", "Replaces", "DrawsOnDevice", "AlwaysDraws", "Plain")
        base = recipe(setting.device, epochs=2, batch_size=128)
        found = {f"{i} {name}": (f"{file}:{name}", base) for i, name in enumerate(names)}
        return compare(setting, found)


def compare(setting: Setting, wanted: dict[str, tuple[str, Recipe]]) -> dict[str, Any]:
    """What each case gives, and which do not give what they should."""
    dataset, found = random_images(700), dict[str, dict[str, Any]]()
    for name, (variant, settings) in wanted.items():
        if setting.left() < 0:
            found[name] = {"failed": NO_TIME}
            continue
        try:
            computed = run(spec(variant, replace(settings, cuda_graph=False)), dataset)
            with warnings_kept() as said:
                recorded = run(spec(variant, settings), dataset)
                resumed = run(spec(variant, settings), dataset, cut=True)
            found[name] = {
                "recorded": recorded == computed,
                "resumed": resumed == recorded,
                "as_expected": setting.device != "cuda" or said_as_expected(name, said),
                "said": sorted(set(said)),
            }
        except Exception as problem:  # one case must not end the others
            found[name] = {"failed": repr(problem)[:300], "where": traceback.format_exc()[-1500:]}
    bad = [n for n, case in found.items() if not all(case.get(key) for key in ("recorded", "resumed", "as_expected"))]
    return {"cases": len(found), "unequal": bad, "each": found}


def said_as_expected(name: str, said: list[str]) -> bool:
    """Whether a case was recorded, or computed for its own reason if it must be.

    What is refused is computed, and then equal to what is computed whatever a recording would have given.
    """
    reason, told = COMPUTED.get(name.split()[-1], COMPUTED.get(name)), refusals(said)
    return not told if reason is None else bool(told) and all(reason in line for line in told)
