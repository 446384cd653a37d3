"""Datasets by path: whatever their folders are called and wherever one stands, the same images are the same data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, make_dataset
from recording import FACTS, record

from orchestrator.data import load_dataset, save_packed
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file
from orchestrator.records import Outcome, Status
from orchestrator.scheduling.launch_folder import open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import take_over
from orchestrator.spec import DatasetSpec, Plan, TrialSpec, digest
from orchestrator.spec.fields import to_json
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import LaunchRuns, TrialFacts, children
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an experiment in ``exp``, its images in ``sets/digits``, and a network of the user's own."""
    home = tmp_path / "project"
    (home / "exp").mkdir(parents=True)
    (home / "net.py").write_text(TINY)
    (home / "exp" / "x.yaml").write_text(
        "name: x\nvariants: [../net.py:Tiny]\ndataset: {name: ../sets/digits}\ntrainer: {epochs: 2, batch_size: 32}\n"
    )
    for split in ("train", "test"):
        for kind in ("a", "b"):
            (home / "sets" / "digits" / split / kind).mkdir(parents=True)
    save_packed(make_dataset(), home / "sets" / "images.pt")
    return home


@pytest.mark.parametrize("name", ["digits", "cifar10"])
@pytest.mark.parametrize("stand", ["exp", "sets", "."])
def test_a_folder_is_never_taken_for_a_built_in_dataset(
    name: str, stand: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "sets" / "digits").rename(project / "sets" / name)
    monkeypatch.chdir(project / stand)
    written = f"name: x\nvariants: [stride]\ndataset: {{name: ../sets/{name}}}\n"
    (project / "exp" / "x.yaml").write_text(written)
    found = read_file(project / "exp" / "x.yaml").dataset.name
    assert found != name
    assert Path(found).samefile(project / "sets" / name)
    (project / "exp" / "x.yaml").write_text(written.replace(f"../sets/{name}", name))
    assert read_file(project / "exp" / "x.yaml").dataset.name == name, "the bare word is the built-in one"


def test_a_curve_may_be_called_like_a_dataset(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "exp" / "digits").write_text("epoch,test_accuracy\n1,50\n")
    (project / "exp" / "x.yaml").write_text("name: x\nvariants: [stride]\npublished: {curve: digits}\n")
    monkeypatch.chdir(project)
    assert read_file(Path("exp/x.yaml")).published_curve == str(project / "exp" / "digits")


# --- launches and trials


def plan_from(project: Path, stand: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Plan:
    monkeypatch.chdir(project / stand)
    file = Path(*[".."] * len(Path(stand).parts)) / "exp" / "x.yaml"
    overrides = ["dataset.name=../sets/images.pt" if stand != "." else "dataset.name=sets/images.pt"]
    experiment = replace(read_file(file, overrides), **more)
    return make_plan(experiment, load_dataset(experiment.dataset, Path("data")).digest)


def earlier(spec: TrialSpec) -> TrialSpec:
    """``spec`` as earlier versions saw it: identified with the path of its dataset."""

    class Earlier(TrialSpec):
        identity = TrialSpec.earlier_identity
        weights_identity = TrialSpec.earlier_weights_identity

    return Earlier(**{name: getattr(spec, name) for name in TrialSpec.__dataclass_fields__})


def test_where_one_stands_decides_no_launch_and_no_trial(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (plan_from(project, stand, monkeypatch) for stand in (".", "exp"))
    assert first.experiment.dataset.name != second.experiment.dataset.name
    assert first.identity() == second.identity()
    assert [spec.identity() for spec in first.trials] == [spec.identity() for spec in second.trials]
    folder, _ = open_launch_folder(project / "storage", first)
    assert open_launch_folder(project / "storage", second) == (folder, "")
    assert folder.amend(second, Storage(project / "storage")) == "", "nothing to tell of"
    folder.check_plan(first)


def test_other_images_at_the_same_path_are_other_data(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_from(project, ".", monkeypatch)
    folder, _ = open_launch_folder(project / "storage", before)
    save_packed(make_dataset(seed=1), project / "sets" / "images.pt")
    after = plan_from(project, ".", monkeypatch)
    assert after.trials[0].identity() != before.trials[0].identity()
    other, why = open_launch_folder(project / "storage", after)
    assert other != folder
    assert "images and labels" in why


def test_built_in_datasets_and_unread_ones_are_identified_as_ever() -> None:
    """Constants, since they are in the folders and stores of users."""
    spec = TrialSpec(variant="stride", dataset_digest="d" * 64)
    assert spec.identity() == spec.earlier_identity()
    assert spec.identity() == "72e983abd46676a5ed8a0424f7c295501f5199e9d5c1a085fb5e3201fdc56414"
    plan = make_plan(read_experiment({"name": "x", "variants": ["stride"]}, "x"), "d" * 64)
    assert (
        plan.identity()
        == digest(["x", plan.basis()])
        == "040cdb54a4c183b4c6ea5ab558420d95c839311d948069be22356ca1323cec69"
    )
    unread = replace(spec, dataset=DatasetSpec(name="a/b"), dataset_digest="")
    assert unread.identity() == unread.earlier_identity() != replace(unread, dataset=DatasetSpec(name="b")).identity()


def test_what_an_earlier_version_has_trained_is_resumed_and_taken_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_from(project, ".", monkeypatch, seeds=(0, 1))
    storage = Storage(project / "storage")
    folder, _ = open_launch_folder(storage.root, plan)
    done, begun = plan.trials
    list(run_trial(done, make_dataset(), folder.trial(done.name)))
    interrupted = run_trial(begun, make_dataset(), folder.trial(begun.name))
    next(interrupted)
    interrupted.close()
    for spec in plan.trials:  # its checkpoints say which trial they are of
        for file in (TrialFolder(folder.trial(spec.name)).last, TrialFolder(folder.trial(spec.name)).previous):
            if file.exists():
                state = checkpoint.load(file)
                assert state["identity"] == spec.weights_identity()
                checkpoint.save(file, {**state, "identity": spec.earlier_weights_identity()})
    moved = plan_from(project, "exp", monkeypatch, seeds=(0, 1))
    assert folder.finished(moved).keys() == {done.name}
    going_on = TrialFolder(folder.trial(begun.name)).checkpoint()
    assert going_on is not None
    left = list(run_trial(moved.trials[1], make_dataset(), folder.trial(begun.name)))
    assert [record.epoch for record in left if not record.final][-1] == 2
    version = str(TrialFolder(folder.trial(done.name)).facts()["machine"]["torch_version"])
    named = replace(moved, experiment=replace(moved.experiment, name="later"))
    later, _ = open_launch_folder(storage.root, named)
    assert sorted(take_over(later, named.trials, storage, version)) == [done.name, begun.name]
    assert TrialFolder(later.trial(done.name)).checkpoint() is not None, "it is known as its own"
    assert later.finished(named).keys() == {done.name, begun.name}


@pytest.mark.parametrize("stand", [".", "exp"])
def test_runs_that_an_earlier_version_recorded_are_those_of_the_trials(
    stand: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_from(project, ".", monkeypatch)
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def opened(plan: Plan) -> LaunchRuns:
        return open_launch(connect(uri), uri, "abc", plan, FACTS, {x.name: TrialFacts() for x in plan.trials}, {})

    trial = before.trials[0].name
    runs = opened(replace(before, trials=tuple(map(earlier, before.trials))))
    sink = Sink(runs)
    sink.on_start(trial)
    sink.on_record(trial, record(1))
    sink.on_end(Outcome(trial, Status.COMPLETE, "", None))
    sink.close(Status.COMPLETE)
    [kept] = children(runs.client, runs.experiment_id, runs.parent_run_id)
    assert kept.data.tags["spec_hash"] == before.trials[0].earlier_identity() != before.trials[0].identity()
    again = opened(plan_from(project, stand, monkeypatch))
    found = again.find(trial)
    assert found is not None
    assert found.info.run_id == kept.info.run_id
    [kept] = children(runs.client, runs.experiment_id, again.parent_run_id)
    assert kept.data.tags["spec_hash"] == before.trials[0].identity()
    assert "left_out" not in kept.data.tags
    assert to_json(before.experiment.dataset)["name"] == kept.data.params["dataset.name"]
