"""A step recorded as a CUDA graph: the bits of a computed one; what keeps a state on the host is never recorded."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orchestrator.architectures import VARIANTS
from orchestrator.data import Dataset, Split
from orchestrator.records import varies
from orchestrator.spec import Optimizer, Recipe, Schedule, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.training.host_state import host_state_problem
from orchestrator.trial import TrialFolder, run_trial

IMAGES = torch.randn(4, 3, 8, 8)
AUGMENTATION = ({"HorizontalFlip": {"p": 0.5}}, {"ShiftScaleRotate": {"p": 0.5}}, {"CoarseDropout": {"fill": "mean"}})


class Plain(nn.Module):
    """Nothing but tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.calls, self.seen, self.scale = 0, [], {"by": 1.0}

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale["by"]


class Counts(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Remembers(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return super().forward(x)


class Rescales(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.scale["by"] *= 0.5
        return super().forward(x)


class KeepsATensor(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.before = x.mean()
        return super().forward(x)


class Draws(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if random.random() < 0.5 else 0.5)


class DrawsWithNumpy(Plain):
    def forward(self, x: Tensor) -> Tensor:
        import numpy as np

        return super().forward(x) * float(np.random.rand())


class CannotBeCopied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.source = (i for i in range(3))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Counts, "Counts.calls"),
        (Remembers, "Remembers.seen"),
        (Rescales, "Rescales.scale"),
        (KeepsATensor, "KeepsATensor.before"),
        (Draws, "from random"),
        (DrawsWithNumpy, "from numpy"),
        (CannotBeCopied, "cannot be copied"),
    ],
)
def test_a_state_on_the_host_is_found_with_a_copy(kind: type[Plain], told: str) -> None:
    network, python, on_cpu = kind(), random.getstate(), torch.get_rng_state()
    before = {key: str(value) for key, value in vars(network).items()}
    for _ in range(2):
        assert told in (host_state_problem(network, lambda copied: copied(IMAGES)) or "")
    assert {key: str(value) for key, value in vars(network).items()} == before
    assert random.getstate() == python
    assert torch.get_rng_state().equal(on_cpu)


def test_a_gpu_that_the_driver_counts_but_that_was_not_used_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one on which CUDA cannot start; here there is none at all."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert host_state_problem(Plain(), lambda copied: copied(IMAGES)) is None


@pytest.mark.parametrize("mode", [True, False])
def test_tensors_alone_are_no_state_on_the_host(mode: bool) -> None:
    assert host_state_problem(Plain().train(mode), lambda copied: copied(IMAGES)) is None


# From here on a GPU is needed.

RECIPES: dict[str, dict] = {
    **{name: {"optimizer": Optimizer(name=name, lr=0.01)} for name in ("sgd", "adam", "adamw", "rmsprop", "muon")},
    "clipped": {"gradient_clip": 0.5, "l1": 1e-5, "l2": 1e-5},
    "cycle": {"schedule": Schedule(name="onecycle", interval="epoch", cycle_momentum=True)},
    "cycle by batch": {"schedule": Schedule(name="onecycle", cycle_momentum=True)},
    "plateau": {"schedule": Schedule(name="plateau", patience=0)},
    "float32": {"precision": "float32"},
    "float16": {"precision": "float16"},
    "drop_last": {"drop_last": True},
}
NETWORK = """
import random
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head, self.calls = nn.Linear(8, num_classes), 0

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Counts(Base):
    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1.0 if self.calls % 3 else 0.5)

class Draws(Base):
    def forward(self, x):
        return super().forward(x) * (1.0 if random.random() < 0.5 else 0.5)

class Replaces(Base):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.register_buffer("level", torch.ones(8))

    def forward(self, x):
        y = self.body(x).mean((2, 3))
        if self.training:
            self.level = 0.9 * self.level + 0.1 * y.detach().float().abs().mean(0)
        return self.head(y * self.level)

class Waits(Base):
    def forward(self, x):
        y = super().forward(x)
        return y if y.mean().item() < 100 else y * 0.5
"""


def images() -> Dataset:
    stream = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=stream)
        return Split(pixels, torch.randint(0, 10, (count,), generator=stream))

    return Dataset("random", split(300), split(50), tuple("abcdefghij"))


def trained(variant: str, recipe: Recipe, folder: Path, cut: bool = False) -> tuple[str, list]:
    """The last weights and all records but times; ``cut``: lost after the first epoch."""
    spec, dataset = TrialSpec(variant=variant, trainer=recipe), images()
    if cut:
        running = run_trial(spec, dataset, folder)
        next(running)
        running.close()
    list(run_trial(spec, dataset, folder))
    records = [{k: v for k, v in r.metrics.items() if not varies(k)} for r in TrialFolder(folder).records()]
    return checkpoint.content_digest(checkpoint.load(TrialFolder(folder).last)["network"]), records


def compare(
    variant: str, folder: Path, caplog: pytest.LogCaptureFixture, refused: str | None = None, **changes: object
) -> None:
    """Recorded and interrupted as computed; ``refused``: part of the reason if it is to be computed in each case."""
    caplog.clear()
    settings: dict = {"epochs": 2, "batch_size": 64, "augmentation": AUGMENTATION, "device": "cuda", **changes}
    recipe = Recipe(**settings)
    computed = trained(variant, replace(recipe, cuda_graph=False), folder / "computed")
    assert trained(variant, recipe, folder / "recorded") == computed
    assert trained(variant, recipe, folder / "cut", cut=True) == computed
    told = [line for line in caplog.messages if "is not recorded as a CUDA graph" in line]
    if refused is None:
        assert told == [], "what is computed is no proof that a recording is right"
    else:
        assert told
        assert all(refused in line for line in told)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_steps_give_the_bits_of_computed_ones(
    variant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compare(variant, tmp_path, caplog)


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_so_they_do_with_every_optimiser_and_setting(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = "decided on the host" if name in ("float16", "cycle by batch") else None
    compare("grouped_concat", tmp_path, caplog, refused, **RECIPES[name])


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("Base", None),
        ("Counts", "Counts.calls"),
        ("Draws", "on the host (from random)"),
        ("Waits", ""),  # in torch's own words
        ("Replaces", "the buffer Replaces.level"),
    ],
)
def test_a_network_that_cannot_be_recorded_is_computed_and_the_next_one_recorded(
    kind: str, refused: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "networks.py").write_text(NETWORK)
    compare(f"{tmp_path}/networks.py:{kind}", tmp_path, caplog, refused)
    compare(f"{tmp_path}/networks.py:Base", tmp_path / "after", caplog)
