"""What becomes of a trial's files when it has ended, or its worker was lost: nothing that is still needed goes."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from recording import record

from orchestrator.data import Dataset
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Failure, Outcome, Status
from orchestrator.scheduling.checkpoints import directory_name, find_checkpoints
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.spec import Plan, TrialSpec
from orchestrator.trial import TrialFolder, run_trial

RECIPE = {"epochs": 3, "batch_size": 32}


def plan_of(file: Path, *names: str) -> Plan:
    tree = {"name": "x", "variants": [f"{file}:{name}" for name in names], "seeds": [0], "trainer": RECIPE}
    return make_plan(read_experiment(tree, "x"))


def train(spec: TrialSpec, dataset: Dataset, folder: Path, steps: int | None = None, measure: bool = True) -> Path:
    """``folder``, in which the trial is trained to its end, or for so many steps."""
    running = run_trial(spec, dataset, folder, measure)
    list(itertools.islice(running, steps))
    running.close()
    return folder


def lost(spec: TrialSpec, launch: Path, error: str, resume_from: Path | None = None, measure: bool = True) -> Outcome:
    """How the trial ends whose worker is lost for good, by ``error``, before it has kept anything in its attempt."""
    from orchestrator.scheduling.callback import LaunchCallback
    from orchestrator.scheduling.drain import Drain

    callback = LaunchCallback(launch / "trials", (), Drain())
    callback.attempt = launch / "tune-9"
    config = {"name": spec.name, "spec": json.dumps(spec.to_json()), "measure": measure}
    config["resume_from"] = None if resume_from is None else str(resume_from.resolve())
    (launch / "error.txt").write_text(error)
    callback.on_trial_error(0, [], SimpleNamespace(config={"trial": config}, error_file=launch / "error.txt"))
    callback.deliver_outcomes(wait=True)
    callback.close()
    return callback.outcomes[spec.name]


@pytest.mark.parametrize(
    ("error", "kind"),
    [("ray.exceptions.OutOfMemoryError: killed", Failure.OUT_OF_MEMORY), ("gone", Failure.INFRASTRUCTURE)],
)
def test_a_worker_lost_while_its_trial_was_evaluated_is_a_failure_and_the_training_stays(
    error: str, kind: Failure, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    [spec] = plan_of(network_file, "Tiny").trials
    home = train(spec, dataset, tmp_path / "trials" / spec.name, measure=False)
    outcome = lost(spec, tmp_path, error, home)
    assert (outcome.status, outcome.failure, outcome.folder) == (Status.FAILED, kind, home)
    assert outcome.reason
    assert TrialFolder(home).outcome().status is Status.COMPLETE  # the next command evaluates it
    assert TrialFolder(home).is_intact()

    assert lost(spec, tmp_path, error, home, measure=False).status is Status.COMPLETE  # as a search leaves it
    train(spec, dataset, home)
    assert lost(spec, tmp_path, error, home).status is Status.COMPLETE  # it had been evaluated


def test_a_trial_that_fails_again_says_why_it_did_now(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    [spec] = plan_of(network_file, "Tiny").trials
    home = TrialFolder(train(spec, dataset, tmp_path / "trials" / spec.name, 2))
    home.finish(Status.FAILED, "KeyError: 'mended since'", "Traceback of what was mended", Failure.ERROR)
    outcome = lost(spec, tmp_path, "node died", home.path)
    assert outcome == home.outcome()
    assert outcome.reason == "its worker was lost: node died"
    assert (outcome.traceback, outcome.failure) == ("", Failure.INFRASTRUCTURE)


def test_a_worker_lost_before_its_first_checkpoint_leaves_what_it_was_resumed_from(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    plan = plan_of(network_file, "Tiny")
    [spec] = plan.trials
    home = TrialFolder(train(spec, dataset, tmp_path / "trials" / spec.name, 1))
    home.finish(Status.FAILED, "older", failure=Failure.ERROR)
    left = train(spec, dataset, tmp_path / "tune-1" / directory_name(spec.name) / "checkpoint_000001", 2)
    outcome = lost(spec, tmp_path, "node died", left)
    assert (outcome.status, outcome.folder) == (Status.FAILED, home.path)
    assert [r.epoch for r in home.records()] == [1, 2]
    assert find_checkpoints(tmp_path, plan)[spec.name] in (home.path, left)


def test_what_was_begun_of_trials_that_are_not_in_the_plan_stays(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    both = plan_of(network_file, "Tiny", "Slow")
    done, begun = both.trials
    train(done, dataset, tmp_path / "trials" / done.name)
    for attempt in ("tune-1", "tune-2"):
        TrialFolder.create(tmp_path / attempt / directory_name(done.name) / "checkpoint_000000", done)
        (tmp_path / attempt / "tuner.pkl").write_text("Ray's own")
    half = train(begun, dataset, tmp_path / "tune-1" / directory_name(begun.name) / "checkpoint_000001", 2)
    (tmp_path / "tune-2" / directory_name(begun.name)).mkdir()  # lost before its first checkpoint

    today = plan_of(network_file, "Tiny")
    run_launch(Launch(today, dataset, tmp_path, {"CPU": 1.0}, finished=frozenset({done.name})))
    assert {path.name for path in tmp_path.glob("tune-*")} == {"tune-1"}
    assert {path.name for path in (tmp_path / "tune-1").iterdir()} == {directory_name(begun.name), "tuner.pkl"}
    assert find_checkpoints(tmp_path, both, {done.name}) == {begun.name: half}

    train(begun, dataset, tmp_path / "trials" / begun.name)
    names = frozenset(spec.name for spec in both.trials)
    run_launch(Launch(both, dataset, tmp_path, {"CPU": 1.0}, finished=names))
    assert not list(tmp_path.glob("tune-*"))


def test_of_a_trial_that_has_no_folder_yet_nothing_goes(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    plan = plan_of(network_file, "Tiny")
    [spec] = plan.trials
    half = train(spec, dataset, tmp_path / "tune-1" / directory_name(spec.name) / "checkpoint_000001", 2)
    run_launch(Launch(plan, dataset, tmp_path, {"CPU": 1.0}, finished=frozenset({spec.name})))  # failed, say
    assert find_checkpoints(tmp_path, plan) == {spec.name: half}


def test_a_failure_that_the_checkpoint_tells_of_keeps_its_traceback(tmp_path: Path) -> None:
    from orchestrator.scheduling.callback import collect_trial

    spec = TrialSpec(variant="stride")
    left = TrialFolder.create(tmp_path / "tune-1" / "checkpoint_000000", spec)
    left.append(record(1))
    left.finish(Status.FAILED, "ValueError: planted", "Traceback of this attempt", Failure.ERROR)
    outcome = Outcome(spec.name, Status.FAILED, "ValueError: planted", failure=Failure.ERROR)
    ended = collect_trial(left.path, tmp_path / "trials" / spec.name, outcome)
    assert ended.traceback == "Traceback of this attempt"
    assert ended == TrialFolder(ended.folder).outcome()
