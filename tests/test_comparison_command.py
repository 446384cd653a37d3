"""The command on a launch's page that trains more seeds amends this very launch, wherever it is pasted."""

import os
import shlex
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from driving import ORCHESTRATOR, orchestrator
from registering import record_launch

from orchestrator.cli.run import command as run_command
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file
from orchestrator.scheduling.launch_file import change
from orchestrator.scheduling.launch_folder import open_launch_folder
from orchestrator.spec import Experiment
from orchestrator.tracking.open_launch import put_command
from orchestrator.tracking.read import read_judging
from orchestrator.tracking.runs import DatasetFacts, LaunchRuns
from orchestrator.tracking.store import connect
from orchestrator.workflow.commands import ExperimentSource, amending_command
from orchestrator.workflow.comparison_page import read_context
from orchestrator.workflow.results import read_results

SETTINGS = ("trainer.epochs=3", "description=it's one", 'dataset.name="../my data.pt"', "seeds=[0,1]")
FILE = "name: close\nvariants: [stride, grouped_concat]\nseeds: [0]\n"


def advised(uri: str, command: str) -> str:
    """What the page of a launch of two close variants prints, whose own run keeps ``command``."""
    results = record_launch(uri, "close", {"stride": [0.80, 0.81], "grouped_concat": [0.79, 0.82]})
    client = results.store()
    experiment = str(client.get_run(results.parent_run_id).info.experiment_id)
    plan = make_plan(read_experiment({"name": "close", "variants": ["stride"]}, "x"), "d" * 64)
    runs = LaunchRuns(client, experiment, results.parent_run_id, plan, DatasetFacts("d", "d", "{}", "{}"), {}, {})
    put_command(runs, command)
    put_command(runs, "")  # a launch that is resumed has no file
    return read_context(read_results(client, "close")).more_evidence


def read_file_at(folder: Path, overrides: tuple[str, ...] = ()) -> Experiment:
    (folder / "close.yaml").write_text(FILE)
    return read_file(folder / "close.yaml", overrides)


def test_the_command_carries_what_the_launch_was_run_with(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    project, elsewhere = tmp_path / "a project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    with chdir(project):
        experiment = read_file_at(project, SETTINGS)
        folder, _ = open_launch_folder(Path("kept"), make_plan(experiment, "d" * 64))
        source = ExperimentSource(Path("close.yaml"), SETTINGS)
        command = amending_command(source, Path("my data"), "kept", None, "auto", as_job=False)
        text = advised(uri, command)
    with chdir(elsewhere):
        place, name, *words = shlex.split(text.replace("cd ", "", 1).replace("&& ", "", 1))
        assert (name, words.pop(0)) == ("orchestrator", "run")
        os.chdir(place)
        params = run_command.make_context("run", words).params
        assert (str(params["data_dir"]), params["storage"], params["address"]) == ("my data", "kept", "auto")
        assert params["tracking_uri"] == f"sqlite:///{project}/mlflow.db"
        plan = make_plan(read_file(params["experiment"], params["overrides"]), "d" * 64)
        again, _ = open_launch_folder(Path(params["storage"]), plan)
        assert again.path.resolve() == (project / folder.path).resolve()
        assert change(again.content(), plan).startswith("new seed")


def test_a_job_is_submitted_again_and_a_launch_without_a_file_has_no_command(uri: str) -> None:
    source = ExperimentSource(Path("exp/close.yaml"), ("trainer.epochs=2", "trainer.epochs=3"))
    command = amending_command(source, Path("/mnt/data"), "s3://bucket/kept", None, "auto", as_job=True)
    sets = "--set trainer.epochs=3 --data-dir /mnt/data --storage s3://bucket/kept"
    assert command == f"orchestrator submit exp/close.yaml {sets}"
    assert amending_command(None, Path("data"), "storage", None, None, as_job=False) == ""
    assert advised(uri, "").startswith("orchestrator run EXPERIMENT.yaml --set ")


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_no_password_is_kept_with_the_command(by: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = "postgresql://me:planted-3e77@db.example/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store if by == "variable" else "")
    monkeypatch.setenv("MY_TOKEN", "planted-token-1")
    source = ExperimentSource(Path("close.yaml"), ("arguments.note=planted-token-1",))
    command = amending_command(source, Path("data"), "storage", store if by == "flag" else None, None, as_job=False)
    assert "planted" not in command
    assert ("--tracking-uri" in command) is (by == "flag")  # by a variable, it must be set again anyway
    advised(uri, command)
    client = connect(uri)
    (launch,) = client.search_runs([client.get_experiment_by_name("close").experiment_id], "tags.kind = 'launch'")
    assert read_judging(client, launch.info.run_id).command == command


@pytest.mark.slow
@pytest.mark.ray
def test_the_printed_command_amends_the_launch(tmp_path: Path, packed: Path, network_file: Path, home: Path) -> None:
    variants = f"[{network_file.name}:Tiny, {{name: {network_file.name}:Tiny, as: wide, arguments: {{width: 8}}}}]"
    (tmp_path / "x.yaml").write_text(
        f"name: close\nvariants: {variants}\ndataset: {{name: {packed.name}}}\ntrainer: {{epochs: 9, batch_size: 32}}\n"
    )
    flags = ["--set", "trainer.epochs=1", "--set", "seeds=[0,1]", "--storage", "kept"]
    first = orchestrator("run", "x.yaml", *flags, "--tracking-uri", "sqlite:///runs.db", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    uri = f"sqlite:///{tmp_path}/runs.db"
    results = read_results(connect(uri), "close")
    printed = read_context(results).more_evidence
    environment = {**os.environ, "PATH": f"{Path(ORCHESTRATOR).parent}:{os.environ['PATH']}"}
    shell = ["sh", "-c", f"{printed} --set 'seeds=[0,1,2]'"]  # whatever was advised, one more is enough
    run = subprocess.run(shell, cwd=home, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert f"launch {results.launch} is amended: new seed 2" in run.stdout + run.stderr
    after = read_results(connect(uri), "close")
    assert (after.parent_run_id, len(after)) == (results.parent_run_id, 6)
    assert {row.epochs for row in after.rows} == {1}
