"""A call leaves the process of its caller as it was, and does not depend on what that has set or drawn."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patience import PATIENCE

import orchestrator as orc
from orchestrator.architectures.torch_settings import _current
from orchestrator.data import Dataset
from orchestrator.spec import DatasetSpec, Recipe, TrialSpec
from orchestrator.trial import TrialFolder, run_trial

Call = Callable[[Path, Path], Any]  # of a data file and a folder


def train(data: Path, folder: Path) -> Any:
    return orc.train("stride", dataset=str(data), epochs=1, out=folder, batch_size=32, threads=1)


def plan(data: Path, folder: Path) -> Any:
    made = orc.plan({"name": "small", "variants": ["stride"], "dataset": {"name": str(data)}})
    assert made.problems == ()
    return made


def inspect(data: Path, folder: Path) -> Any:
    return orc.inspect("stride")


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.slow
@pytest.mark.parametrize("call", [train, plan, inspect])
def test_random_numbers_settings_and_environment_are_those_of_the_caller(
    call: Call, packed: Path, tmp_path: Path
) -> None:
    call(packed, tmp_path / "first")  # libraries set and draw something when they are imported
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    expected = drawn()
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    settings, environment = _current(), dict(os.environ)
    call(packed, tmp_path / "trial")
    assert _current() == settings
    assert dict(os.environ) == environment
    assert drawn() == expected


@pytest.mark.parametrize("call", [train, plan, inspect])
def test_a_default_device_of_the_caller_is_not_ours(call: Call, packed: Path, tmp_path: Path) -> None:
    torch.set_default_device("meta")
    try:
        call(packed, tmp_path / "trial")
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_device(None)


def test_threads_that_train_at_once_get_the_figures_of_one(packed: Path, tmp_path: Path) -> None:
    settings, environment = _current(), dict(os.environ)
    alone = train(packed, tmp_path / "alone").epochs()["train/loss"].tolist()
    with ThreadPoolExecutor(3) as threads:
        trials = list(threads.map(lambda n: train(packed, tmp_path / str(n)), range(3)))
    assert [trial.epochs()["train/loss"].tolist() for trial in trials] == [alone] * 3
    assert _current() == settings
    assert dict(os.environ) == environment


def test_a_trial_is_the_same_in_another_folder(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trial = orc.train("stride", dataset=str(packed), epochs=1, batch_size=32)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(trial.epochs()) == 1


def test_a_trial_whose_facts_are_damaged_is_resumed(dataset: Dataset, tmp_path: Path) -> None:
    spec = TrialSpec(variant="stride", dataset=DatasetSpec(name="tiny"), trainer=Recipe(epochs=2, batch_size=32))
    records = run_trial(spec, dataset, tmp_path)
    next(records)
    records.close()
    (tmp_path / "facts.json").write_text('{"parameters"')
    assert [record.epoch for record in run_trial(spec, dataset, tmp_path)] == [2, 2]
    assert TrialFolder(tmp_path).facts()["classes"] == len(dataset.classes)


MLFLOW = """
import logging, os
import orchestrator as orc
from orchestrator.errors import RequestError
from orchestrator.tracking.mlflow_settings import _LOGGERS, mlflow_settings_ended
from orchestrator.tracking.store import connect

uri, before = "sqlite:///runs.db", dict(os.environ)
with mlflow_settings_ended(), mlflow_settings_ended():
    connect(uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert logging.getLogger("mlflow").level == logging.ERROR
levels = [logging.getLogger(name).level for name in _LOGGERS]
assert logging.ERROR not in levels, levels
try:
    orc.load("none", tracking_uri=uri)
except RequestError:
    pass
assert {name: value for name, value in os.environ.items() if before.get(name) != value} == {}
assert [logging.getLogger(name).level for name in _LOGGERS] == levels
"""
WORKER = """
import gc
before = gc.get_freeze_count()
import orchestrator.scheduling.worker
assert gc.get_freeze_count() == before
assert gc.isenabled()
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [MLFLOW, WORKER], ids=["MLflow", "imports of workers"])
def test_what_a_library_needs_of_the_process_ends_with_the_call(code: str, tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GIT_PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=known, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
