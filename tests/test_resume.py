"""A launch that is interrupted or killed for real, and carried on: nothing twice, nothing missing, the same bits."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator import records as keys
from orchestrator.tracking.read import find_launch, read_trials
from orchestrator.tracking.store import connect
from orchestrator.training import checkpoint

ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))
EXPERIMENT = """
name: small
variants: ["{networks}:Tiny"]
seeds: [0, 1, 2]
dataset: {{name: "{data}"}}
trainer: {{epochs: 60, batch_size: 16, optimizer: {{lr: 0.1}}, augmentation: [{{HorizontalFlip: {{p: 0.5}}}}]}}
"""


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen([ORCHESTRATOR, *arguments], cwd=folder, stdout=output, stderr=output, text=True)


def wait_for(folder: Path, words: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while words not in (folder / "output.txt").read_text():
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 the driver, and reap what Ray leaves behind."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(family, timeout=10)
    for orphan in family:
        if orphan.is_running():
            orphan.kill()


def content(folder: Path) -> dict[str, Any]:
    """What a launch leaves, but for the clock: weights, records and MLflow's content."""
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    parent, _, _ = find_launch(client, "small")
    assert client.get_run(parent).info.status == "FINISHED"
    left: dict[str, Any] = {}
    for row in read_trials(client, parent):
        run = client.get_run(row.run_id)
        history = client.get_metric_history(row.run_id, keys.TRAIN_LOSS)
        assert max(Counter(m.step for m in history).values()) == 1, "an epoch was recorded twice"
        [best] = folder.glob(f"storage/small/*/trials/{row.trial}/checkpoints/best.pt")
        left[row.trial] = {
            "status": (row.status, run.info.status),
            "test": row.test_accuracy,
            "train": sorted((m.step, m.value) for m in history),
            "validation": row.curve,
            "weights": checkpoint.content_digest(checkpoint.load(best)["network"]),
        }
    return left


@pytest.fixture
def folders(tmp_path: Path, network_file: Path, packed: Path) -> tuple[Path, Path]:
    """Two folders with the same experiment."""
    made = []
    for name in ("undisturbed", "disturbed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "small.yaml").write_text(EXPERIMENT.format(networks=network_file, data=packed))
        made.append(tmp_path / name)
    return made[0], made[1]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_interrupted_then_killed_then_carried_on(folders: tuple[Path, Path]) -> None:
    undisturbed, disturbed = folders
    subprocess.run([ORCHESTRATOR, "run", "small.yaml"], cwd=undisturbed, check=True, capture_output=True, timeout=120)

    process = begin(disturbed, "run", "small.yaml")
    wait_for(disturbed, "seed-0: epoch 10/", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "carry on with: orchestrator resume small" in (disturbed / "output.txt").read_text()
    client = connect(f"sqlite:///{disturbed / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small").experiment_id
    assert {run.info.status for run in client.search_runs([experiment])} == {"KILLED"}

    process = begin(disturbed, "resume", "small")
    wait_for(disturbed, "epoch 40/", process)
    kill(process)
    (disturbed / "storage").rename(disturbed / "moved")  # moving the storage folder does not break it

    process = begin(disturbed, "resume", "small", "--storage", "moved")
    assert process.wait(timeout=120) == 0, (disturbed / "output.txt").read_text()
    (disturbed / "moved").rename(disturbed / "storage")
    assert content(disturbed) == content(undisturbed)
    runs = client.search_runs([experiment])
    assert len(runs) == 4  # the launch and its three trials, however often it was begun
    assert not list(disturbed.glob("storage/small/*/tune-*"))
