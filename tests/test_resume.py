"""A launch that is interrupted or killed for real, and resumed: nothing twice, nothing missing, the same bits."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from driving import ORCHESTRATOR, driver, wait_for
from patience import PATIENCE

from orchestrator import records as keys
from orchestrator.tracking.read import find_launch
from orchestrator.tracking.store import connect
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.training import checkpoint
from orchestrator.workflow.verify import WORKER, compare, kill_driver

EXPERIMENT = """
name: small
variants: ["{networks}:Slow"]
seeds: [0, 1, 2]
dataset: {{name: "{data}"}}
trainer: {{epochs: 60, batch_size: 16, optimizer: {{lr: 0.1}}, augmentation: [{{HorizontalFlip: {{p: 0.5}}}}]}}
"""


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
            "validation": [(m.step, m.value) for m in client.get_metric_history(row.run_id, keys.VAL_ACCURACY)],
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
def test_interrupted_then_killed_then_carried_on(folders: tuple[Path, Path], tmp_path: Path) -> None:
    undisturbed, disturbed = folders
    subprocess.run(
        [ORCHESTRATOR, "run", "small.yaml"], cwd=undisturbed, check=True, capture_output=True, timeout=PATIENCE
    )

    pace = tmp_path / "pace"
    pace.write_text("0.05")
    with driver(disturbed, "run", "small.yaml") as process:
        wait_for(disturbed, process, "seed-0: epoch 10/")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
    assert "resume with: orchestrator resume small" in (disturbed / "output.txt").read_text()
    client = connect(f"sqlite:///{disturbed / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small").experiment_id
    assert ended(disturbed) == "KILLED"

    with driver(disturbed, "resume", "small") as process:
        wait_for(disturbed, process, "epoch 40/")
        kill_driver(process)
    assert re.search(r"seed-0: resumed at epoch 1\d/\d+$", (disturbed / "output.txt").read_text(), re.MULTILINE)
    (disturbed / "storage").rename(disturbed / "moved")  # moving the storage folder does not break it

    pace.unlink()
    with driver(disturbed, "resume", "small", "--storage", "moved") as process:
        assert process.wait(timeout=PATIENCE) == 0, (disturbed / "output.txt").read_text()
    (disturbed / "moved").rename(disturbed / "storage")
    assert content(disturbed) == content(undisturbed)
    runs = client.search_runs([experiment])
    assert len(runs) == 4  # the launch and its three trials, however often it was begun
    assert not list(disturbed.glob("storage/small/*/tune-*"))


def ended(folder: Path) -> str:
    """How the launch ended as MLflow has it; none of its trials is taken to be running."""
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    parent, _, _ = find_launch(client, "small")
    launch = client.get_run(parent).info
    assert "RUNNING" not in {run.info.status for run in client.search_runs([launch.experiment_id])}
    statuses = {row.status for row in read_trials(client, parent)}
    assert "interrupted" in statuses <= {"interrupted", "complete"}
    return str(launch.status)


@pytest.mark.slow
@pytest.mark.ray
def test_sigterm_drains(folders: tuple[Path, Path]) -> None:
    with driver(folders[0], "run", "small.yaml", "--set", "trainer.epochs=100000") as process:
        wait_for(folders[0], process, "seed-0: epoch 5/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 130
    said = (folders[0] / "output.txt").read_text()
    assert "the epochs in progress are finished first" in said
    assert "stopping at once" not in said
    assert "resume with: orchestrator resume small" in said
    assert ended(folders[0]) == "KILLED"


@pytest.mark.slow
@pytest.mark.ray
def test_a_second_signal_stops_at_once(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = folders[0]
    with driver(folder, "run", "small.yaml", "--set", "trainer.epochs=100000") as process:
        wait_for(folder, process, "seed-0: epoch 5/")
        (tmp_path / "pace").write_text("100000")  # the epochs in progress would take days
        family = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in family if " ".join(child.cmdline()).startswith(WORKER)]
        assert workers
        process.send_signal(signal.SIGINT)
        wait_for(folder, process, "the epochs in progress are finished first")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
        assert psutil.wait_procs(workers, timeout=PATIENCE)[1] == []
    said = (folder / "output.txt").read_text()
    assert "stopping at once" in said
    assert "resume with: orchestrator resume small" in said
    assert ended(folder) == "KILLED"


HASTY = """
import os, signal
from pathlib import Path
from orchestrator.data import load_dataset
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_file
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.session import ray_session
from orchestrator.scheduling.storage import Storage

signals = [signal.SIGINT, signal.SIGINT]

class Hasty(Storage):
    def children(self, folder):
        while signals:
            os.kill(os.getpid(), signals.pop())
        return super().children(folder)

plan = make_plan(read_file(Path("small.yaml")))
with ray_session(cpus=1):
    data = load_dataset(plan.experiment.dataset, Path("."))
    storage = Hasty(Path("storage").resolve())
    outcomes = run_launch(Launch(plan, data, storage.root / "launch", {"CPU": 1.0}, storage=storage), print)
print(sorted({str(o.status) for o in outcomes.values()}))
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_second_signal_before_tune_has_begun_ends_the_launch_as_well(folders: tuple[Path, Path]) -> None:
    command = [sys.executable, "-c", HASTY]
    hasty = subprocess.run(command, cwd=folders[0], capture_output=True, text=True, timeout=PATIENCE)
    assert hasty.returncode == 0, hasty.stderr
    assert "stopping at once" in hasty.stdout
    assert hasty.stdout.splitlines()[-1] == "['interrupted']"


@pytest.mark.slow
@pytest.mark.ray
def test_two_launches_at_once_do_not_disturb_one_another(folders: tuple[Path, Path]) -> None:
    alone, shared = folders
    (alone / "other.yaml").write_text((alone / "small.yaml").read_text().replace("name: small", "name: other"))
    for file, settings in (("small.yaml", "[0]"), ("other.yaml", "[1]")):
        arguments = [ORCHESTRATOR, "run", file, "--set", f"seeds={settings}"]
        subprocess.run(arguments, cwd=alone, check=True, capture_output=True, timeout=PATIENCE)
    for file in ("small.yaml", "other.yaml"):
        (shared / file).write_text((alone / file).read_text())
    runs = [
        ["small.yaml", "--set", "seeds=[0]"],
        ["small.yaml", "--set", "seeds=[1]", "--set", "trainer.label_smoothing=0.1"],  # another recipe, another launch
        ["other.yaml", "--set", "seeds=[1]"],
    ]
    together = [
        subprocess.Popen([ORCHESTRATOR, "run", *run], cwd=shared, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for run in runs
    ]
    for process in together:
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output.decode()
    client = connect(f"sqlite:///{shared / 'mlflow.db'}")
    for name, launches in (("small", 2), ("other", 1)):
        found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        assert [run.info.status for run in found] == ["FINISHED"] * 2 * launches  # each with one trial
    for trial in ("small/*/trials/Slow/seed-0", "other/*/trials/Slow/seed-1"):
        [ours], [theirs] = (list(f.glob(f"storage/{trial}/checkpoints/best.pt")) for f in (alone, shared))
        digests = {checkpoint.content_digest(checkpoint.load(path)["network"]) for path in (ours, theirs)}
        assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.ray
def test_verify_resume_kills_and_finds_nothing_that_differs(folders: tuple[Path, Path]) -> None:
    arguments = ["verify-resume", "small.yaml", "--kills", "2", "--seed", "5", "--json"]
    arguments += ["--set", "trainer.epochs=300"]
    found = subprocess.run([ORCHESTRATOR, *arguments], cwd=folders[0], capture_output=True, text=True, timeout=PATIENCE)
    assert found.returncode == 0, found.stderr
    verdict = json.loads(found.stdout)
    assert verdict["equal"] is True
    assert verdict["kills"] == ["worker", "driver"]
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
