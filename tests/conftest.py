"""What several tests share: a small data set that can be learned in seconds, and a small network of a user's own."""

import importlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from orchestrator.data import Dataset, Split, save_packed
from orchestrator.scheduling.session import local_environment

# A busy machine is no defect: examples may take their time, and the same ones are drawn every time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start

# Ray remembers, from when it is first imported, how it was told to ask for tokens: whichever test comes first, it
# is told what our own sessions tell it.
_before = dict(os.environ)
os.environ.update(local_environment())
importlib.import_module("ray")
os.environ.clear()
os.environ.update(_before)

TINY = '''
import torch.nn as nn

class Tiny(nn.Module):
    """About two hundred parameters, with the dropout and normalisation that make exactness hard."""

    def __init__(self, num_classes=3, width=6, fail_at=None):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=4), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes),
        )

    def forward(self, x):
        return self.net(x)


class Failing(Tiny):
    """Works until it is trained."""

    def forward(self, x):
        if self.training:
            raise RuntimeError("planted failure")
        return self.net(x)
'''


def make_dataset(per_class: int = 40, classes: int = 3, size: int = 16, seed: int = 0) -> Dataset:
    """Noise with a bright corner that tells the class."""
    stream = torch.Generator().manual_seed(seed)

    def split(count: int) -> Split:
        labels = torch.arange(classes).repeat(count)
        images = torch.randint(0, 120, (len(labels), 3, size, size), generator=stream, dtype=torch.uint8)
        for position, label in enumerate(labels.tolist()):
            images[position, label % 3, : size // 2, : size // 2] += 120
        return Split(images, labels)

    return Dataset("tiny", split(per_class), split(per_class // 2), tuple(f"class {i}" for i in range(classes)))


@pytest.fixture
def dataset() -> Dataset:
    return make_dataset()


@pytest.fixture
def packed(tmp_path: Path, dataset: Dataset) -> Path:
    """The small data set as a packed file."""
    save_packed(dataset, tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    """A Python file with the networks Tiny and Failing."""
    file = tmp_path / "networks.py"
    file.write_text(TINY)
    return file


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests shared out among processes, those that start a Ray stay together: two would halve each other's cores.

    Beside other tests they take their time, which is no defect.
    """
    for item in items:
        if item.get_closest_marker("ray") or item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group("ray"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))
