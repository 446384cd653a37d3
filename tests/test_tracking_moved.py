"""A copied or moved SQLite store uses the artifacts beside it, and what was put elsewhere on purpose stays there."""

import shutil
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from recording import open_runs

from orchestrator.records import TrialRow
from orchestrator.spec import Plan
from orchestrator.tracking.artifacts import COMPARISON, TRACEBACK, artifacts_of, log_traceback
from orchestrator.tracking.models import log_model
from orchestrator.tracking.moved import follow
from orchestrator.tracking.registry import find_source
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import BESIDE, LEASE
from orchestrator.workflow.trial import Trial

ONE, OTHER = "a" * 32, "b" * 32  # ids of launches


def store(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


@cache
def empty_store() -> bytes:
    """Its tables take seconds to make."""
    with TemporaryDirectory() as folder:
        connect(store(Path(folder)))
        return (Path(folder) / "mlflow.db").read_bytes()


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store())
    return folder


def project(folder: Path, plan: Plan) -> LaunchRuns:
    runs = open_runs(store(make_folder(folder)), plan, ONE)
    send_page(runs, "original")
    return runs


def send_page(runs: LaunchRuns, text: str) -> None:
    """As the driver of a launch does that has asked the store for its run."""
    send(runs, runs.client.get_run(runs.parent_run_id), text)


def send(runs: LaunchRuns, run: Any, text: str) -> None:
    page = Path(runs.client.tracking_uri.removeprefix("sqlite:///")).parents[1] / COMPARISON
    page.write_text(text)
    artifacts_of(runs.client, run).log_artifact(str(page))


def pages(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.rglob(COMPARISON)]


def send_again(folder: Path, plan: Plan) -> None:
    runs = open_runs(store(folder), plan, ONE)
    send_page(runs, "new")
    new = runs.create(plan.trials[0].name)
    runs.client.log_text(new.info.run_id, "new", "new.txt")
    model = runs.client.create_logged_model(runs.experiment_id, "model", source_run_id=new.info.run_id)
    assert str(folder / "mlruns" / "exp") in model.artifact_location


def exported(folder: Path) -> Path:
    """What MLflow takes for a model."""
    folder.mkdir()
    (folder / "MLmodel").write_text("{}")
    return folder


def address(folder: Path) -> str:
    return str(connect(store(folder), make=False).get_experiment_by_name("exp").artifact_location)


def change(folder: Path, statement: str, *values: str) -> None:
    """As a person does who edits the database."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount


def forget_tag(folder: Path) -> None:
    """As an earlier version left the store."""
    change(folder, "DELETE FROM experiment_tags WHERE key = ?", BESIDE)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_copy_leaves_the_original_as_it_is(tmp_path: Path, plan: Plan, earlier: bool) -> None:
    original, copy = tmp_path / "a project", tmp_path / "copy"
    project(original, plan)
    if earlier:
        forget_tag(original)
    shutil.copytree(original, copy)
    send_again(copy, plan)
    assert (pages(original), pages(copy)) == (["original"], ["new"])
    assert not list(original.rglob("new.txt"))
    assert len(list(copy.rglob("new.txt"))) == 1


@pytest.mark.parametrize("earlier", [False, True])
def test_a_moved_project_does_not_make_its_old_folder_again(tmp_path: Path, plan: Plan, earlier: bool) -> None:
    project(tmp_path / "old", plan)
    if earlier:
        forget_tag(tmp_path / "old")
    for before, after in (("old", "new"), ("new", "newer")):  # the second time the address is one that was followed
        (tmp_path / before).rename(tmp_path / after)
        send_again(tmp_path / after, plan)
        assert pages(tmp_path / after) == ["new"]
        assert not (tmp_path / before).exists()


def test_a_project_is_followed_before_it_has_artifacts(tmp_path: Path, plan: Plan) -> None:
    open_runs(store(make_folder(tmp_path / "old")), plan, ONE)
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    (tmp_path / "old").rename(tmp_path / "new")
    for name in ("copy", "new"):
        send_again(tmp_path / name, plan)
        assert pages(tmp_path / name) == ["new"]
    assert not (tmp_path / "old").exists()


def test_reading_a_moved_project_finds_its_artifacts_and_changes_nothing(tmp_path: Path, plan: Plan) -> None:
    parent = project(tmp_path / "old", plan).parent_run_id
    (tmp_path / "old").rename(tmp_path / "new")
    recorded = (tmp_path / "new" / "mlflow.db").read_bytes()
    client = connect(store(tmp_path / "new"), make=False)
    assert (Trial("the launch", run_id=parent, client=client).folder / COMPARISON).read_text() == "original"
    assert (tmp_path / "new" / "mlflow.db").read_bytes() == recorded
    assert not (tmp_path / "old").exists()


def test_a_launch_that_runs_keeps_its_addresses_and_another_path_works_beside_it(tmp_path: Path, plan: Plan) -> None:
    """One project at two paths: the host's, with a running launch, and a container's, which the host does not have."""
    host, container = tmp_path / "host", tmp_path / "container"
    running = project(host, plan)
    host_run, before = running.client.get_run(running.parent_run_id), address(host)
    host.rename(container)
    other = open_runs(store(container), plan, OTHER)
    trial = other.create(plan.trials[0].name)
    send_page(other, "from the container")
    log_traceback(other.client, trial, "raised")
    log_model(other.client, trial.info.run_id, exported(tmp_path / "model"))
    follow(store(container))  # as MLflow's page does when it starts
    assert address(container) == before
    assert not host.exists()
    assert len(list((container / "mlruns").rglob("MLmodel"))) == 1
    container.rename(host)
    send(running, host_run, "changed")
    assert sorted(pages(host)) == ["changed", "from the container"]
    assert not container.exists()
    found = artifacts_of(running.client, running.client.get_run(trial.info.run_id)).list_artifacts()
    assert TRACEBACK in {artifact.path for artifact in found}


def test_addresses_that_were_changed_while_a_driver_was_silent_do_not_lead_it_astray(
    tmp_path: Path, plan: Plan
) -> None:
    host, container = tmp_path / "host", tmp_path / "container"
    running = project(host, plan)
    host_run = running.client.get_run(running.parent_run_id)
    running.client.set_tag(running.parent_run_id, LEASE, "1")
    host.rename(container)
    follow(store(container))
    assert address(container) == (container / "mlruns" / "exp").as_uri()
    container.rename(host)
    send(running, host_run, "as it knows its run")
    assert pages(host) == ["as it knows its run"]
    send_page(running, "as the store has it")
    assert pages(host) == ["as the store has it"]
    assert not container.exists()


def test_a_network_of_a_moved_project_is_registered_where_it_is(tmp_path: Path, plan: Plan) -> None:
    running = project(tmp_path / "old", plan)
    trial = running.create(plan.trials[0].name)
    log_model(running.client, trial.info.run_id, exported(tmp_path / "model"))
    running.client.set_terminated(running.parent_run_id)
    (tmp_path / "old").rename(tmp_path / "new")
    client = connect(store(tmp_path / "new"), make=False)
    source = find_source(client, TrialRow(plan.trials[0].name, trial.info.run_id, "stride", 0, "complete"))
    assert (Path(source.address.removeprefix("file://")) / "MLmodel").is_file()
    assert source.address.startswith((tmp_path / "new").as_uri())


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("name", ["mlruns/exp", "elsewhere"])
def test_artifacts_in_another_place_stay_there(tmp_path: Path, plan: Plan, name: str, mounted: bool) -> None:
    place, folder = tmp_path / "archive" / name, make_folder(tmp_path / "project")
    place.mkdir(parents=True)
    (folder / "mlruns" / "exp" / "of an older store").mkdir(parents=True)
    connect(store(folder)).create_experiment("exp", artifact_location=place.as_uri())
    runs = open_runs(store(folder), plan, ONE)
    send_page(runs, "original")
    if not mounted:
        (tmp_path / "archive").rename(tmp_path / "unmounted")
    open_runs(store(folder), plan, ONE)
    follow(store(folder))
    assert address(folder) == place.as_uri()
    if not mounted:
        assert not (tmp_path / "archive").exists()
        (tmp_path / "unmounted").rename(tmp_path / "archive")
    assert pages(place) == ["original"]


@pytest.mark.parametrize("mounted", [True, False])
def test_artifacts_that_somebody_has_moved_to_another_disk_stay_there(
    tmp_path: Path, plan: Plan, mounted: bool
) -> None:
    """What was left beside the store is as old as the move, whether the disk is mounted or not."""
    folder, place = tmp_path / "project", tmp_path / "archive" / "mlruns" / "exp"
    project(folder, plan)
    before = address(folder)
    if mounted:
        shutil.copytree(folder / "mlruns" / "exp", place)
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        change(folder, f"UPDATE {table} SET {column} = replace({column}, ?, ?)", before, place.as_uri())
    open_runs(store(folder), plan, ONE)
    assert address(folder) == place.as_uri()
    assert pages(folder) == ["original"]


def test_of_an_earlier_version_what_only_resembles_a_moved_project_stays(tmp_path: Path, plan: Plan) -> None:
    folder, place = tmp_path / "project", tmp_path / "archive" / "mlruns" / "exp"
    project(folder, plan)
    before = address(folder)
    shutil.copytree(folder / "mlruns" / "exp", place)
    change(folder, "UPDATE experiments SET artifact_location = ?", place.as_uri())
    forget_tag(folder)
    follow(store(folder))
    assert address(folder) == place.as_uri() != before
