"""Real launches of an experiment with relative paths only, from its project, from another folder, and with kills."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from driving import driver, orchestrator, wait_for
from patience import PATIENCE
from placing import make_project

from orchestrator.tracking.store import connect

SEARCH = {
    "samples": 2,
    "space": {
        "arguments.width": {"choice": [4, 5], "variants": ["wide"]},
        "trainer.optimizer.lr": {"choice": [0.1, 0.2]},
    },
}


def files(home: Path) -> set[str]:
    """Every file of the project, apart from results and the store."""
    results = ("storage", "mlruns", "mlflow.db", "mlflow.db.lock")
    paths = (path.relative_to(home) for path in home.rglob("*"))
    return {path.as_posix() for path in paths if path.parts[0] not in results}


def runs(home: Path) -> dict[str, dict[str, str]]:
    """The tags of the trials' runs by their names."""
    client = connect(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments() if found.name == "placed"]
    found = client.search_runs(experiments)
    return {run.info.run_name: run.data.tags for run in found if "mlflow.parentRunId" in run.data.tags}


@pytest.mark.slow
@pytest.mark.ray
def test_two_of_one_class_train_from_relative_paths_and_nothing_is_left_there(tmp_path: Path) -> None:
    home = make_project(tmp_path / "home")
    before = files(home)
    assert orchestrator("validate", "exp/placed.yaml", cwd=home).returncode == 0
    run = orchestrator("run", "exp/placed.yaml", "--json", cwd=home)
    assert run.returncode == 0, run.stderr
    assert "no model" not in run.stderr
    assert "no report" not in run.stderr
    names = {f"{label}/seed-{seed}" for label in ("wide", "narrow") for seed in (0, 1)}
    result = json.loads(run.stdout)
    assert {row["trial"] for row in result["trials"]} == names
    assert result["verdict"]["baseline"] == "narrow"
    assert {name: tags["variant"] for name, tags in runs(home).items()} == {n: n.partition("/")[0] for n in names}
    assert {row["variant"]: row["parameters"] for row in result["trials"]} == {"wide": 267, "narrow": 201}
    assert files(home) == before
    compared = orchestrator("compare", "placed", "--json", cwd=home)
    assert json.loads(compared.stdout)["trials"] == result["trials"]
    refused = orchestrator("validate", "placed.yaml", cwd=home / "exp")
    assert refused.returncode == 2, "what the network opens is relative to where the user stands"
    assert "classes.txt" in refused.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_a_launch_is_resumed_from_any_folder(tmp_path: Path) -> None:
    home, other = make_project(tmp_path / "home"), tmp_path / "other"
    other.mkdir()
    (home / "pace").write_text("0.05")
    confirm = {"search": SEARCH, "confirm": {"seeds": [7, 8]}, "seeds": [0]}
    more = [word for key, value in confirm.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    with driver(home, "run", "exp/placed.yaml", "--set", "trainer.epochs=6", *more) as process:
        wait_for(home, process, ": epoch 2/")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130, (home / "output.txt").read_text()
    (home / "output.txt").unlink()
    (home / "pace").unlink()
    before = files(home)
    resumed = orchestrator("resume", "placed", "--storage", "../home/storage", "--json", cwd=other)
    assert resumed.returncode == 0, resumed.stderr
    assert f"was begun in {home}, and is resumed there" in resumed.stderr
    store = f" --tracking-uri sqlite:///{home / 'mlflow.db'}"  # the commands that are printed hold where the user is
    assert f"runs: orchestrator ui{store} " in resumed.stderr
    rows = json.loads(resumed.stdout)["trials"]
    assert {row["trial"] for row in rows if row["stage"] == "confirm"} == {
        name for name in runs(home) if "/seed-7" in name or "/seed-8" in name
    }
    assert {row["status"] for row in rows} == {"complete"}
    assert files(home) == before
    drawn = orchestrator("report", "placed", "--storage", "../home/storage", cwd=other)
    assert drawn.returncode == 0, drawn.stderr
    assert "wide/seed-7" in drawn.stdout
    assert "../home/storage/placed/" in drawn.stdout
    assert list(other.iterdir()) == []
    moved = tmp_path / "moved"
    home.rename(moved)  # a launch without its folder is resumed where the user stands
    again = orchestrator("resume", "placed", cwd=moved)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_verify_resume_takes_relative_paths_and_leaves_nothing(tmp_path: Path) -> None:
    home = make_project(tmp_path / "home")
    shutil.copytree(home / "exp" / "nets", home / "other")
    (home / "datasets").mkdir()
    (home / "exp" / "images.pt").rename(home / "datasets" / "mine.pt")
    before = files(home)
    variants = json.dumps([{"name": "other/net.py:Net", "as": "given"}])
    settings = [f"variants={variants}", "verdict={}", "dataset.name=mine.pt", "seeds=[0]", "trainer.epochs=150"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    verified = orchestrator("verify-resume", "exp/placed.yaml", "--kills", "1", "--seed", "1", "--json", *arguments,
                            "--data-dir", "datasets", cwd=home)  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["equal"] is True
    assert files(home) == before
    assert not (home / "storage").exists()
    assert not (home / "mlflow.db").exists()
