"""A launch that is interrupted or killed for real, and carried on: nothing twice, nothing missing, the same bits."""

import json
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
from orchestrator.cli.verifying import compare
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


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_sigterm_drains_and_a_second_signal_stops_at_once(folders: tuple[Path, Path]) -> None:
    first, second = folders
    process = begin(first, "run", "small.yaml")
    wait_for(first, "seed-0: epoch 5/", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    said = (first / "output.txt").read_text()
    assert "the epochs in progress are finished first" in said
    assert "carry on with: orchestrator resume small" in said

    process = begin(second, "run", "small.yaml", "--set", "trainer.epochs=100000")
    wait_for(second, "seed-0: epoch 5/", process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    for folder in folders:
        client = connect(f"sqlite:///{folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("small").experiment_id
        assert {run.info.status for run in client.search_runs([experiment])} == {"KILLED"}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_two_launches_at_once_do_not_disturb_one_another(folders: tuple[Path, Path]) -> None:
    alone, shared = folders
    (alone / "other.yaml").write_text((alone / "small.yaml").read_text().replace("name: small", "name: other"))
    for file, settings in (("small.yaml", "[0]"), ("other.yaml", "[1]")):
        arguments = [ORCHESTRATOR, "run", file, "--set", f"seeds={settings}"]
        subprocess.run(arguments, cwd=alone, check=True, capture_output=True, timeout=120)
    for file in ("small.yaml", "other.yaml"):
        (shared / file).write_text((alone / file).read_text())
    runs = [["small.yaml", "seeds=[0]"], ["small.yaml", "seeds=[1]"], ["other.yaml", "seeds=[1]"]]
    together = [
        subprocess.Popen(
            [ORCHESTRATOR, "run", file, "--set", seeds], cwd=shared, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for file, seeds in runs
    ]
    for process in together:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output.decode()
    client = connect(f"sqlite:///{shared / 'mlflow.db'}")
    for name, launches in (("small", 2), ("other", 1)):
        found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        assert [run.info.status for run in found] == ["FINISHED"] * 2 * launches  # each with one trial
    for trial in ("small/*/trials/Tiny/seed-0", "other/*/trials/Tiny/seed-1"):
        [ours], [theirs] = (list(f.glob(f"storage/{trial}/checkpoints/best.pt")) for f in (alone, shared))
        digests = {checkpoint.content_digest(checkpoint.load(path)["network"]) for path in (ours, theirs)}
        assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_verify_resume_kills_and_finds_nothing_that_differs(folders: tuple[Path, Path]) -> None:
    arguments = ["verify-resume", "small.yaml", "--kills", "2", "--seed", "5", "--json"]
    arguments += ["--set", "trainer.epochs=300"]
    found = subprocess.run([ORCHESTRATOR, *arguments], cwd=folders[0], capture_output=True, text=True, timeout=580)
    assert found.returncode == 0, found.stderr
    verdict = json.loads(found.stdout)
    assert verdict["equal"] is True
    assert verdict["kills"]
    assert sorted(path.name for path in folders[0].iterdir()) == ["small.yaml"]  # it leaves nothing behind


def test_what_differs_is_named() -> None:
    whole = {
        "Tiny/seed-0": {"MLflow status": "FINISHED", "weights in best.pt": "a"},
        "the launch": {"status": "FINISHED"},
    }
    assert compare(whole, whole) == []
    other = {"Tiny/seed-0": {"MLflow status": "KILLED", "weights in best.pt": "b", "MLflow tags": {}}}
    assert compare(whole, other) == [
        "the launch: in one launch only",
        "Tiny/seed-0: MLflow status",
        "Tiny/seed-0: MLflow tags",
        "Tiny/seed-0: weights in best.pt",
    ]
