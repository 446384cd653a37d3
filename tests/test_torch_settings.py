"""Torch's settings of the whole process, set by a user's file, change no trial, neither others nor its own."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import make_dataset

from orchestrator.architectures import build_network
from orchestrator.architectures.torch_settings import SETTINGS, defaults, put, settings_kept
from orchestrator.architectures.untracked import source_notes
from orchestrator.data import Dataset, save_packed
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial

CHANGES = (
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.mkldnn.fp32_precision = 'bf16'",
    "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "torch.backends.cudnn.benchmark = True; torch.backends.cudnn.deterministic = False",
    "torch.backends.cudnn.enabled = False",
    "torch.backends.mkldnn.set_flags(False)",
    "torch.backends.nnpack.set_flags(False)",
    "torch.backends.cuda.enable_flash_sdp(False); torch.backends.cuda.enable_math_sdp(False)",
    "torch.backends.mha.set_fastpath_enabled(False)",
    "torch.set_num_threads(3)",
    "torch.autograd.set_detect_anomaly(True)",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_tensor_type(torch.DoubleTensor)",
    "torch.set_default_device('meta')",
    "torch.set_default_device('cuda')",
    "torch.set_grad_enabled(False)",
    "torch.set_flush_denormal(True)",
    "torch.use_deterministic_algorithms(False)",
    "torch.utils.deterministic.fill_uninitialized_memory = True",
    "torch.autocast('cpu', torch.bfloat16).__enter__()",
)
# One of each kind: precision, algorithms, threads, type, device, and a mode; the others are slow tests.
QUICK = {
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cudnn.benchmark = True; torch.backends.cudnn.deterministic = False",
    "torch.set_num_threads(3)",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_device('meta')",
    "torch.autocast('cpu', torch.bfloat16).__enter__()",
}
FILE = """
import torch
{top}

class Net(torch.nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
        )
        self.head = torch.nn.Linear(16, num_classes)
        {constructor}

    def forward(self, x):
        {forward}
        return self.head(self.layers(x))
"""
AT = {"top", "constructor", "forward"}
RECIPE = Recipe(epochs=1, batch_size=36, threads=1)


def write(folder: Path, change: str, at: str) -> str:
    (folder / "network.py").write_text(FILE.format(**{place: change if place == at else "" for place in AT}))
    return f"{folder / 'network.py'}:Net"


def state() -> dict:
    return {name: setting.get() for name, setting in SETTINGS.items()}


def trained(variant: str, dataset: Dataset, folder: Path) -> str:
    """The digest of all weights of a trial; the process is after it as it was before."""
    before = state()
    for _ in run_trial(TrialSpec(variant=variant, trainer=RECIPE), dataset, folder, measure=False):
        pass
    assert state() == before
    return checkpoint.content_digest(checkpoint.load(TrialFolder(folder).last)["network"])


@pytest.fixture(scope="module")
def small() -> Dataset:
    return make_dataset(20)


@pytest.fixture(scope="module")
def fresh(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a built-in network learns in a process that has trained nothing else, in which every setting is torch's."""
    folder = tmp_path_factory.mktemp("fresh")
    save_packed(small, folder / "data.pt")
    spec = TrialSpec(variant="stride", trainer=RECIPE)
    (folder / "spec.json").write_text(json.dumps(spec.to_json()))
    code = (
        "import json; from pathlib import Path\n"
        "from orchestrator.architectures.torch_settings import SETTINGS, defaults\n"
        "assert {name: SETTINGS[name].get() for name in defaults()} == defaults()\n"
        "from orchestrator.data.packed import load_packed; from orchestrator.spec import TrialSpec\n"
        "from orchestrator.trial import run_trial\n"
        "spec = TrialSpec.from_json(json.loads(Path('spec.json').read_text()))\n"
        "list(run_trial(spec, load_packed(Path('data.pt'), 'tiny'), Path('fresh'), measure=False))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=os.environ)
    return checkpoint.content_digest(checkpoint.load(TrialFolder(folder / "fresh").last)["network"])


@pytest.mark.parametrize(
    "change", [change if change in QUICK else pytest.param(change, marks=pytest.mark.slow) for change in CHANGES]
)
def test_what_a_file_sets_changes_no_trial(change: str, small: Dataset, fresh: str, tmp_path: Path) -> None:
    """Set at the file's top or in its constructor: not the built-in one after it, nor its own second trial."""
    plain = trained(write(tmp_path, "", "top"), small, tmp_path / "plain")
    for at in ("top", "constructor"):
        variant = write(tmp_path, change, at)
        assert trained(variant, small, tmp_path / f"{at} 1") == plain, "the file's settings are without effect"
        assert trained(variant, small, tmp_path / f"{at} 2") == plain, "the module was imported before"
    assert trained("stride", small, tmp_path / "built in") == fresh


def test_what_forward_sets_ends_with_the_trial(small: Dataset, fresh: str, tmp_path: Path) -> None:
    change = "torch.set_float32_matmul_precision('medium'); torch.backends.cudnn.benchmark = True"
    trained(write(tmp_path, change, "forward"), small, tmp_path / "own")
    assert trained("stride", small, tmp_path / "built in") == fresh


def test_what_the_process_has_set_before_changes_no_trial(small: Dataset, fresh: str, tmp_path: Path) -> None:
    """As in a notebook, which keeps what it has set; two of them contradict one another to torch."""
    with settings_kept():
        for change in CHANGES:
            if "__enter__" not in change:
                exec(change, {"torch": torch})
        assert torch.get_default_dtype() == torch.float64
        list(run_trial(TrialSpec(variant="stride", trainer=RECIPE), small, tmp_path / "t", measure=False))
        assert torch.get_default_dtype() == torch.float64
        assert not torch.is_grad_enabled()
    assert checkpoint.content_digest(checkpoint.load(TrialFolder(tmp_path / "t").last)["network"]) == fresh
    assert {name: SETTINGS[name].get() for name in defaults()} == defaults()


def test_every_setting_is_put_back_whatever_others_say(tmp_path: Path) -> None:
    """Also where an older and a newer name of one setting are mixed, which torch refuses to read."""
    before = state()
    for first in CHANGES:
        for second in CHANGES:
            with settings_kept():
                exec(first, {"torch": torch})
                with settings_kept():
                    exec(second, {"torch": torch})
                put(defaults())
            assert state() == before, (first, second)


def test_threads_that_build_at_once_leave_the_settings_alone(tmp_path: Path) -> None:
    before = state()
    variants = []
    for position, change in enumerate(CHANGES):
        (tmp_path / str(position)).mkdir()
        variants.append(write(tmp_path / str(position), change, "top"))
    threads = [threading.Thread(target=build_network, args=(variant, {}, 3)) for variant in variants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state() == before


def test_a_setting_without_effect_is_said_in_one_note(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text(
        "import torch\nimport torch.backends.cudnn as cudnn\ntorch.set_num_threads(4)\ncudnn.benchmark = True\n"
        "if torch.cuda.is_available():\n    torch.set_float32_matmul_precision('high')\n"
        "def train(): torch.set_num_threads(2)\n"
        "if __name__ == '__main__':\n    torch.backends.cudnn.deterministic = True\n"
    )
    (note,) = source_notes(f"{tmp_path / 'network.py'}:Net")
    names = "torch.set_num_threads, torch.backends.cudnn.benchmark, torch.set_float32_matmul_precision: without effect"
    assert f"network.py:3: {names}" in note
    (tmp_path / "network.py").write_text("import torch\nx = torch.zeros(1)\nx.grad = None\n")
    assert source_notes(f"{tmp_path / 'network.py'}:Net") == []
