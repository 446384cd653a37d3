"""What several tests share: a small dataset that can be learned in seconds, and a small network of a user's own."""

import importlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.nodeid import coerce_node_id
from driving import EXPERIMENT, orchestrator
from hypothesis import settings
from torch import Tensor, nn

from orchestrator.data import Dataset, Split, save_packed
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.scheduling.session import local_environment
from orchestrator.spec import Plan

# A busy machine is no defect: examples may take their time, and the same ones are drawn every time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
pytest.register_assert_rewrite("damage", "doctoring", "head")  # what fails there is to be seen, too
torch.set_num_threads(1)
# For the processes that tests start: one thread, and nothing of the stores and clusters that this user works with.
os.environ["OMP_NUM_THREADS"] = "1"
for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "ORCHESTRATOR_", "RAY_", "AWS_"))]:
    del os.environ[_name]

# Ray remembers, from when it is first imported, how it was told to ask for tokens: whichever test comes first, it
# is told what our own sessions tell it.
_before = dict(os.environ)
os.environ.update(local_environment())
importlib.import_module("ray")
os.environ.clear()
os.environ.update(_before)

TINY = '''
import time
from pathlib import Path

import torch.nn as nn

PACE = Path("/nonexistent")

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


class Slow(Tiny):
    """Takes as many seconds a batch as a file says, so that there is time to disturb it; the arithmetic is the same."""

    def forward(self, x):
        if self.training and PACE.exists():
            time.sleep(float(PACE.read_text()))
        return self.net(x)


class Failing(Slow):
    """Works until it is trained: a step can be taken, and the third fails."""

    steps = 0

    def forward(self, x):
        super().forward(x)
        self.steps += self.training
        if self.steps > 2:
            raise RuntimeError("planted failure")
        return self.net(x)
'''


class Lambda(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


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


@pytest.fixture(autouse=True)
def no_store_for_later_tests() -> Iterator[None]:
    """MLflow, told of a store, puts it into the environment for good: the processes of later tests would use it."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def no_training_left_open() -> Iterator[None]:
    """A training that is neither finished nor closed changes the whole process, and ends at any later time."""
    before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == before, "a training was left open: close it"


@pytest.fixture
def dataset() -> Dataset:
    return make_dataset()


@pytest.fixture
def packed(tmp_path: Path, dataset: Dataset) -> Path:
    """The small dataset as a packed file."""
    save_packed(dataset, tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    """A Python file with the networks Tiny, Slow and Failing; how slow they are, a file called pace beside it says."""
    file = tmp_path / "networks.py"
    file.write_text(TINY.replace("/nonexistent", str(tmp_path / "pace")))
    return file


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """The address of a store that is not there yet."""
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def plan() -> Plan:
    """Two variants with two seeds each."""
    return make_plan(read_experiment({"name": "exp", "variants": ["stride", "grouped_concat"], "seeds": [0, 1]}, "x"))


@dataclass(frozen=True)
class Launched:
    """A launch of the networks Tiny and Failing, two seeds each, that has ended: its folder and what it printed."""

    folder: Path
    experiment: Path
    result: dict[str, Any]  # of --json
    stderr: str

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """One for all tests that look at what a launch leaves; who changes anything works on a copy of the folder."""
    folder = tmp_path_factory.mktemp("launched")
    (folder / "networks.py").write_text(TINY.replace("/nonexistent", str(folder / "pace")))
    save_packed(make_dataset(), folder / "tiny.pt")
    experiment = folder / "small.yaml"
    experiment.write_text(EXPERIMENT.format(networks=folder / "networks.py", data=folder / "tiny.pt", second="Failing"))
    run = orchestrator("run", str(experiment), "--json", cwd=folder)
    assert run.returncode == 1, run.stderr  # two of its trials fail
    return Launched(folder, experiment, json.loads(run.stdout), run.stderr)


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, of ``size`` as mount says it, in the new ``folder``; skips where it may not be made."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with nothing in it, so that what this machine's user has is not looked at."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def pytest_configure() -> None:
    """A shell that starts these tests in the background has SIGINT ignored, by every process that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs a GPU is skipped without one, and what drives programs that are not ours may be tried once more.

    The last line of the report counts both. Of tests shared out among processes, some stay together.
    """
    for item in items:
        if any(item.get_closest_marker(name) for name in ("ray", "browser")):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if getattr(config.option, "loadgroup", False) and (group := group_of(item)):
            item._id = coerce_node_id(
                f"{item.nodeid}@{group}"
            )  # xdist writes to _nodeid, which pytest 9.2 does not read


def group_of(item: pytest.Item) -> str | None:
    """Tests of one group run in one process, one after another; None: this one on its own.

    Those that start a Ray stay together: two would halve each other's cores, and they share a launch. The slow ones do
    not, which would make one process run nearly all of them. Whoever shares a fixture of a file stays together, too.
    """
    starts_ray = any(item.get_closest_marker(name) for name in ("ray", "cluster"))
    if starts_ray and (not item.get_closest_marker("slow") or "launched" in getattr(item, "fixturenames", ())):
        return "ray"
    return item.path.stem if _shares_fixtures(item.path) else None


@cache
def _shares_fixtures(file: Path) -> bool:
    return 'scope="module"' in file.read_text()
