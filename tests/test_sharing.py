"""Trials side by side on one device: real processes that train, fail, hang and lose their parent; the best share."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE

from orchestrator.sharing.measure import Throughput, _bytes_each, _rate, side_by_side
from orchestrator.sharing.process import _endless, _random_images
from orchestrator.sharing.share import Share, best_share
from orchestrator.spec import Optimizer, Recipe, Schedule, TrialSpec

SHAPE = (3, 16, 16)
AILING = '''
import os
import time
from pathlib import Path

import torch
from networks import Tiny

class Hungry(Tiny):
    """The processes that train it lack memory."""

    def forward(self, x):
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\\nMore of it")
        return self.net(x)


class Hanging(Tiny):
    """Trains one epoch, says who it is, and hangs."""

    batches = 0

    def forward(self, x):
        self.batches += self.training
        if self.batches > 41:
            Path(__file__).with_name(f"hangs-{os.getpid()}").touch()
            time.sleep(3600)
        return self.net(x)


class Dying(Tiny):
    """Ends its process without a word that could be read as one of ours."""

    def forward(self, x):
        if self.training:
            print('{"at": 0}', flush=True)
            os._exit(9)
        return self.net(x)
'''

# Where nothing can be imported but what a machine with torch alone has; children find this as we do.
BLOCKED = """
import sys

class Blocked:
    names = {"ray", "mlflow", "pydantic", "albumentations", "yaml", "click", "rich", "psutil", "pyarrow", "matplotlib",
             "filelock", "torchvision", "cv2"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
"""


def spec_of(variant: str, **trainer: object) -> TrialSpec:
    settings = {"batch_size": 8, "evaluation_batch_size": 16, "device": "cpu", "threads": 1, **trainer}
    return TrialSpec(variant=variant, trainer=Recipe(**settings))  # type: ignore[arg-type]


@pytest.fixture
def ailing_file(network_file: Path) -> Path:
    file = network_file.with_name("ailing.py")
    file.write_text(f"import sys\nsys.path.insert(0, {str(network_file.parent)!r})\n" + AILING)
    return file


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "orchestrator.sharing.process" in str(p.cmdline())]


def test_processes_train_side_by_side_and_are_gone_afterwards(network_file: Path) -> None:
    found = side_by_side(spec_of(f"{network_file}:Tiny"), SHAPE, 3, 2, 0.5, patience=PATIENCE)
    assert (found.failed, found.reason) == (0, "")
    assert found.images_per_second > 0
    assert (found.bytes_each, found.bytes_total) == (0, 0)  # of a GPU there is none
    assert children() == []


@pytest.mark.parametrize(
    ("network", "reason", "patience"),
    [
        ("Hungry", "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", PATIENCE),
        ("Dying", '{"at": 0}', PATIENCE),
        ("Missing", "VariantError: ", PATIENCE),
        pytest.param("Hanging", "no epoch ended within 60 s", 60.0, marks=pytest.mark.slow),
    ],
)
def test_what_fails_is_told_and_not_waited_for(ailing_file: Path, network: str, reason: str, patience: float) -> None:
    began = time.monotonic()
    found = side_by_side(spec_of(f"{ailing_file}:{network}"), SHAPE, 3, 2, 0.5, patience=patience)
    assert found.images_per_second == 0
    assert 1 <= found.failed <= 2
    assert reason in found.reason
    assert network != "Hanging" or list(ailing_file.parent.glob("hangs-*")), "it has trained an epoch before"
    assert children() == []
    assert time.monotonic() - began < PATIENCE


@pytest.mark.slow
def test_processes_end_with_whoever_started_them(ailing_file: Path, tmp_path: Path) -> None:
    code = (
        "from orchestrator.sharing.measure import side_by_side; from orchestrator.spec import *; "
        f"spec = TrialSpec(variant={f'{ailing_file}:Hanging'!r}, trainer=Recipe(batch_size=8, device='cpu')); "
        "side_by_side(spec, (3, 16, 16), 3, 2, 1.0, patience=3600)"
    )
    (tmp_path / "scratch").mkdir()
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path / "scratch")})
    deadline = time.monotonic() + PATIENCE
    while len(hanging := list(ailing_file.parent.glob("hangs-*"))) < 2:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(psutil.pid_exists(int(path.name.removeprefix("hangs-"))) for path in hanging):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list((tmp_path / "scratch").glob("side-by-side-*")) == []


def test_the_environment_reaches_the_processes_and_torch_is_all_they_need(network_file: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKED)
    network_file.write_text(network_file.read_text() + "\nimport os\nassert os.environ['GIVEN'] == 'to them'\n")
    code = (
        "import orchestrator.sharing.share, orchestrator.sharing.mps, os\n"
        "from orchestrator.sharing.measure import side_by_side\nfrom orchestrator.spec import Recipe, TrialSpec\n"
        "augmentation = ({'HorizontalFlip': {'p': 0.5}},)\n"
        f"spec = TrialSpec(variant={f'{network_file}:Tiny'!r}, "
        "trainer=Recipe(batch_size=8, device='cpu', augmentation=augmentation))\n"
        f"found = side_by_side(spec, (3, 16, 16), 3, 1, 0.2, {{'GIVEN': 'to them'}}, {PATIENCE})\n"
        "assert not found.failed, found.reason\nassert found.images_per_second > 0\n"
        "assert 'GIVEN' not in os.environ\n"
    )
    path = os.pathsep.join([str(tmp_path / "blocked"), str(Path(__file__).parents[1])])
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


def test_what_is_trained_is_the_same_work_for_ever() -> None:
    given = Recipe(
        epochs=3,
        stop_at_accuracy=0.5,
        protocol="published",
        batch_size=32,
        drop_last=True,
        optimizer=Optimizer(name="muon", lr=1.0),
        schedule=Schedule(max_lr=2.0, total_steps=10),
    )
    endless = _endless(given)
    assert endless.epochs > 1000
    assert (endless.stop_at_accuracy, endless.protocol, endless.schedule.max_lr) == (None, "validation", None)
    assert endless.optimizer.lr < 1e-3
    assert (endless.batch_size, endless.drop_last, endless.optimizer.name) == (32, True, "muon")
    dataset = _random_images(endless, (3, 8, 8), 5)
    assert len(dataset.train) == 40 * 32
    whole_and_rest = _random_images(replace(endless, drop_last=False), (3, 8, 8), 5)
    assert len(whole_and_rest.train) == 40 * 32 + 31, "a smaller batch is recorded by itself, whose memory counts"
    small = _random_images(replace(endless, drop_last=False, batch_size=2), (3, 8, 8), 5)
    assert len(small.train) == 40 * 2, "nothing is trained on one image alone"
    assert dataset.validation is not None
    assert len(dataset.validation) == 1000
    assert dataset.classes == ("0", "1", "2", "3", "4")
    assert torch.unique(dataset.train.labels).tolist() == [0, 1, 2, 3, 4]
    large = _random_images(endless, (3, 1024, 1024), 2)
    assert len(large.train) == 4 * 32


def test_the_rate_is_that_between_the_first_and_the_last_end() -> None:
    ends = [{"at": 1.0, "images": 100}, {"at": 1.5, "images": 100}, {"at": 3.0, "images": 100}]
    assert _rate(ends) == 100.0


def test_memory_is_what_is_reserved_and_a_part_of_what_is_used_beyond() -> None:
    def line(reserved: int, used: int) -> dict[str, int]:
        return {"reserved": reserved, "used": used, "total": 1000}

    assert _bytes_each([[line(10, 60), line(30, 60)]]) == 60
    assert _bytes_each([[line(30, 60)], [line(20, 110)]]) == 30 + (110 - 50) // 2
    assert _bytes_each([[], [line(20, 10)]]) == 20
    assert _bytes_each([[], []]) == 0


def card(speeds: dict[int, float], each: int = 0, limit: int = 10**9) -> tuple[list[int], object]:
    tried: list[int] = []

    def measure(count: int) -> Throughput:
        tried.append(count)
        if count > limit:
            return Throughput(0.0, each, 1, "out of memory")
        return Throughput(speeds[count], each, 0)

    return tried, measure


@pytest.mark.parametrize(
    ("speeds", "each", "count", "tried", "reason"),
    [
        ({1: 100.0, 2: 190.0, 4: 300.0, 8: 310.0}, 1, 4, [1, 2, 4, 8], "8 are only 1.03 times as fast as 4"),
        ({1: 100.0, 2: 111.0, 4: 122.0}, 1, 2, [1, 2, 4], "4 are only 1.10 times as fast as 2"),
        ({1: 100.0, 2: 90.0}, 1, 1, [1, 2], "2 are only 0.90 times as fast as 1"),
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0, 16: 16.0}, 1, 16, [1, 2, 4, 8, 16], "no larger count was to be tried"),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 22, 4, [1, 2, 4], "8 would take more than 90% of the GPU's memory"),
        ({1: 1.0}, 46, 1, [1], "2 would take more than 90% of the GPU's memory"),
        ({1: 1.0}, 95, 1, [1], "1 take more than 90% of the GPU's memory"),
    ],
)
def test_the_count_is_doubled_while_it_fits_and_helps(
    speeds: dict[int, float], each: int, count: int, tried: list[int], reason: str
) -> None:
    asked, measure = card(speeds, each)
    found = best_share(measure, 100)  # type: ignore[arg-type]
    assert (found.count, asked, found.reason) == (count, tried, reason)
    assert [number for number, _ in found.measured] == tried


def test_a_count_that_fails_is_not_used() -> None:
    _, measure = card({1: 1.0, 2: 2.0}, limit=2)
    found = best_share(measure, 100)  # type: ignore[arg-type]
    assert (found.count, found.reason) == (2, "4 side by side failed: out of memory")
    _, measure = card({}, limit=0)
    assert best_share(measure, 100).count == 1  # type: ignore[arg-type]


@given(
    speeds=st.lists(st.floats(1.0, 1e6), min_size=5, max_size=5),
    each=st.integers(0, 200),
    limit=st.integers(0, 20),
    most=st.floats(0.1, 1.0),
    gain=st.floats(1.0, 3.0),
)
def test_what_is_chosen_fits_and_every_doubling_up_to_it_has_helped(
    speeds: list[float], each: int, limit: int, most: float, gain: float
) -> None:
    counts = (1, 2, 4, 8, 16)
    by_count = dict(zip(counts, speeds, strict=True))
    asked, measure = card(by_count, each, limit)
    found: Share = best_share(measure, 1000, counts, gain, most)  # type: ignore[arg-type]
    assert tuple(asked) == counts[: len(asked)]  # one after the other, and none twice
    assert found.count in counts
    assert found.reason
    if found.count > 1:
        assert found.count <= limit
        assert found.count * each <= most * 1000
    for before, after in itertools.pairwise(counts):
        if after <= found.count:
            assert by_count[after] >= gain * by_count[before]
    if found.count != counts[-1] and found.count <= limit:  # the next one was tried in vain, or would not have fitted
        after = 2 * found.count
        fits = after * each <= most * 1000
        assert not fits or after > limit or by_count[after] < gain * by_count[found.count]
