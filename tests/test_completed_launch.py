"""A complete launch is recognised by its settings, data, sources and store, and by nothing less."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.experiment.reader import read_experiment
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment
from orchestrator.workflow.completed_launch import completed_launch, fingerprint, mark_complete

URI = "sqlite:///a.db"


@pytest.fixture
def experiment(network_file: Path, packed: Path) -> Experiment:
    plain = {"name": "small", "variants": [f"{network_file}:Tiny"], "dataset": {"name": str(packed)}}
    return read_experiment(plain, "small.yaml")


def test_the_same_again_is_complete(experiment: Experiment, tmp_path: Path) -> None:
    storage = Storage(tmp_path / "storage")
    assert completed_launch(storage, experiment, tmp_path, URI) is None
    mark = fingerprint(experiment, tmp_path, URI)
    mark_complete(LaunchFolder(tmp_path / "storage" / "small" / "abc"), storage, mark, "abc-1")
    assert completed_launch(storage, experiment, tmp_path, URI) == "abc-1"
    assert completed_launch(storage, experiment, tmp_path, "sqlite:///b.db") is None
    assert completed_launch(storage, replace(experiment, seeds=(0, 1)), tmp_path, URI) is None


def test_of_two_equal_launches_the_newest_is_found_or_the_one_that_is_asked_for(
    experiment: Experiment, tmp_path: Path
) -> None:
    storage, mark = Storage(tmp_path / "storage"), fingerprint(experiment, tmp_path, URI)
    folders = [LaunchFolder(tmp_path / "storage" / "small" / name) for name in ("b", "a", "c")]
    for age, folder in enumerate(folders):
        mark_complete(folder, storage, mark, folder.name)
        os.utime(folder.path / "complete.json", (1000 - age, 1000 - age))
    assert completed_launch(storage, experiment, tmp_path, URI) == "b"
    found = [completed_launch(storage, experiment, tmp_path, URI, folder) for folder in folders]
    assert found == ["b", "a", "c"]
    (folders[1].path / "complete.json").unlink()
    assert completed_launch(storage, experiment, tmp_path, URI, folders[1]) is None


@pytest.mark.parametrize("touched", ["networks.py", "tiny.pt"])
def test_an_edited_file_is_noticed(experiment: Experiment, tmp_path: Path, touched: str) -> None:
    before = fingerprint(experiment, tmp_path, URI)
    file = tmp_path / touched
    file.write_bytes(file.read_bytes() + b"\n")
    assert fingerprint(experiment, tmp_path, URI) != before
    (tmp_path / touched).unlink()
    assert fingerprint(experiment, tmp_path, URI) is None


def test_a_damaged_mark_is_no_mark(experiment: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "storage" / "small" / "abc"
    folder.mkdir(parents=True)
    for content in ("", "[]", "{}", "{"):
        (folder / "complete.json").write_text(content)
        assert completed_launch(Storage(tmp_path / "storage"), experiment, tmp_path, URI) is None


HEAVY = ("torch", "ray", "matplotlib", "sklearn", "scipy.stats", "scipy.optimize")


@pytest.mark.parametrize(
    "module",
    [
        "orchestrator.cli.compare", "orchestrator.cli.variants", "orchestrator.architectures.table",
        "orchestrator.workflow.results", "orchestrator.workflow.completed_launch", "orchestrator.cli.status",
        "orchestrator.cli.resume", "orchestrator.scheduling.launch_folder", "orchestrator.tracking.ui",
    ],
)  # fmt: skip
def test_what_reads_only_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"


def test_checking_the_digits_imports_neither_scikit_learn_nor_torchs_compiler() -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.workflow.check import check_experiment;"
        "from orchestrator.experiment.reader import read_experiment;"
        "check_experiment(read_experiment({'name': 'x', 'variants': ['stride']}, 'x'), Path('data'), lambda _: None);"
        "print([name for name in ('sklearn', 'torch._dynamo', 'sympy', 'albumentations') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"
