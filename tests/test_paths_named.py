"""A path that may not be used is told in one line, whoever meets it; what may only be read is read."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driving import orchestrator
from patience import PATIENCE
from recording import open_runs

import orchestrator as orc
from orchestrator.errors import RequestError, StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.tracking.store import connect
from orchestrator.workflow.results import read_results

LONG = "n" * 300  # more than a file system takes
TREE = {"name": "x", "variants": ["stride"], "dataset": {"name": "digits"}}
CALLS: dict[str, Callable[[Path], object]] = {
    "train, out": lambda path: orc.train("stride", dataset="digits", epochs=1, out=path),
    "train, data_dir": lambda path: orc.train("stride", dataset="cifar10", epochs=1, data_dir=path),
    "plan, data_dir": lambda path: orc.plan({**TREE, "dataset": {"name": "cifar10"}}, data_dir=path),
    "run, storage": lambda path: orc.run(TREE, storage=path, tracking_uri=f"sqlite:///{path.parent}/runs.db"),
    "report, storage": lambda path: orc.report("x", storage=path),
    "load, tracking_uri": lambda path: orc.load("x", tracking_uri=f"sqlite:///{path}/runs.db"),
    "inspect, file": lambda path: orc.inspect("stride").save_figure(path / "y.png"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_path_that_cannot_be_is_named_by_every_call(
    call: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=rf"{tmp_path}/{LONG}.* cannot be read or written: File name too long"):
        call(tmp_path / LONG)


def test_a_path_that_cannot_be_is_named_by_a_command_and_what_a_network_raises_is_not(tmp_path: Path) -> None:
    refused = orchestrator("train", "stride", "--out", LONG, "--epochs", "1", cwd=tmp_path)
    assert refused.returncode != 0
    assert refused.stderr.splitlines()[-1].endswith("cannot be read or written: File name too long")
    assert "Traceback" not in refused.stderr


def test_a_path_with_nul_and_a_format_that_there_is_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a path must not contain NUL"):
        orc.train("stride", dataset="digits", out="a\0b")
    with pytest.raises(RequestError, match=r"a figure has no format 'xyz'; allowed: .*png"):
        orc.inspect("stride").save_figure(tmp_path / "new" / "y.xyz")
    assert not list(tmp_path.iterdir())


HOLDER = """
import os, time
from pathlib import Path
import orchestrator
from torch import nn

class Waiting(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.head = nn.Linear(3, num_classes)
    def forward(self, x):
        if "FIRST" in os.environ and Path("{folder}/train.lock").exists():
            Path("training").touch()
            while not Path("go").exists():
                time.sleep(0.01)
        return self.head(x.mean((2, 3)))

if __name__ == "__main__":
    trial = orchestrator.train(Waiting, dataset="{data}", epochs=1, out="{folder}", batch_size=32, threads=1)
    print(len(trial.epochs()))
"""


def test_a_folder_in_which_another_process_trains_is_left_to_it(packed: Path, tmp_path: Path) -> None:
    folder, script = tmp_path / "trial", tmp_path / "holder.py"
    script.write_text(HOLDER.format(folder=folder, data=packed))
    first = {**os.environ, "FIRST": "1"}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=first) as other:
        assert other.stdout is not None
        while not (tmp_path / "training").exists() and other.poll() is None:
            time.sleep(0.05)
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        (tmp_path / "go").touch()
        assert "is being trained by another process; wait for it, or give another folder" in second.stderr
        assert other.stdout.read().splitlines()[-1] == "1"
    assert other.returncode == 0
    assert len((folder / "records.jsonl").read_text().splitlines()) == 2


def _as_reader(uri: str, experiment: str, answers: Any) -> None:
    os.setuid(65_534)
    results = read_results(connect(uri, make=False), experiment)
    answers.put([row.trial for row in results.rows])


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_who_may_only_read_a_store_reads_it() -> None:
    with tempfile.TemporaryDirectory() as place:  # that others may enter, unlike those of tests
        Path(place).chmod(0o755)
        uri = f"sqlite:///{place}/mlflow.db"
        plan = make_plan(read_experiment({**TREE, "name": "shared"}, "x"))
        open_runs(uri, plan).create(plan.trials[0].name)
        assert [row.trial for row in read_results(connect(uri, make=False), "shared").rows] == ["stride/seed-0"]
        Path(f"{place}/mlflow.db.lock").unlink()
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        reader = context.Process(target=_as_reader, args=(uri, "shared", answers))
        reader.start()
        reader.join(PATIENCE)
        assert reader.exitcode == 0
        assert answers.get() == ["stride/seed-0"]
