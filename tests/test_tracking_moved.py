"""A copied or moved SQLite store uses the artifacts beside it, and what was put elsewhere on purpose stays there."""

import shutil
from pathlib import Path

import pytest
from recording import open_runs

from orchestrator.spec import Plan
from orchestrator.tracking.artifacts import COMPARISON, artifacts_of
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.store import connect


def project(folder: Path, plan: Plan) -> LaunchRuns:
    folder.mkdir()
    runs = open_runs(f"sqlite:///{folder / 'mlflow.db'}", plan, "a" * 32)
    send_page(runs, folder, "original")
    return runs


def send_page(runs: LaunchRuns, folder: Path, text: str) -> None:
    """By the address in the store: MLflow's client remembers that of a run for as long as its process lives."""
    page = folder.parent / COMPARISON
    page.write_text(text)
    artifacts_of(runs.client, runs.client.get_run(runs.parent_run_id)).log_artifact(str(page))


def pages(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.rglob(COMPARISON)]


def send_again(folder: Path, plan: Plan) -> None:
    runs = open_runs(f"sqlite:///{folder / 'mlflow.db'}", plan, "a" * 32)
    send_page(runs, folder, "new")
    new = runs.create(plan.trials[0].name)
    runs.client.log_text(new.info.run_id, "new", "new.txt")
    model = runs.client.create_logged_model(runs.experiment_id, "model", source_run_id=new.info.run_id)
    assert str(folder / "mlruns" / "exp") in model.artifact_location


def test_a_copy_leaves_the_original_as_it_is(tmp_path: Path, plan: Plan) -> None:
    original, copy = tmp_path / "a project", tmp_path / "copy"
    project(original, plan)
    shutil.copytree(original, copy)
    send_again(copy, plan)
    assert (pages(original), pages(copy)) == (["original"], ["new"])
    assert not list(original.rglob("new.txt"))
    assert len(list(copy.rglob("new.txt"))) == 1


def test_a_moved_project_does_not_make_its_old_folder_again(tmp_path: Path, plan: Plan) -> None:
    project(tmp_path / "old", plan)
    (tmp_path / "old").rename(tmp_path / "new")
    send_again(tmp_path / "new", plan)
    assert pages(tmp_path / "new") == ["new"]
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize("name", ["mlruns/exp", "elsewhere"])
def test_artifacts_in_another_place_stay_there(tmp_path: Path, plan: Plan, name: str) -> None:
    place = tmp_path / "archive" / name
    place.mkdir(parents=True)
    (tmp_path / "project").mkdir()
    uri = f"sqlite:///{tmp_path / 'project' / 'mlflow.db'}"
    connect(uri).create_experiment("exp", artifact_location=place.as_uri())
    runs = open_runs(uri, plan)
    runs.client.log_text(runs.parent_run_id, "original", COMPARISON)
    connect(uri)
    assert runs.client.get_experiment_by_name("exp").artifact_location == place.as_uri()
    assert pages(place) == ["original"]
