"""A trial that a search has trained and that is compared later: it is evaluated on the test split first."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import make_dataset
from driving import orchestrator
from recording import open_runs

from orchestrator.data import save_packed
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import CONFIRM, Status
from orchestrator.scheduling.checkpoints import find_checkpoints
from orchestrator.scheduling.decisions import Decision, append
from orchestrator.scheduling.launch import Launch, settle_stopped
from orchestrator.scheduling.launch_folder import RUNGS, LaunchFolder, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import take_over
from orchestrator.spec import Plan
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.trial import TrialFolder, run_trial

RATES = {"trainer.optimizer.lr": {"choice": [0.05, 0.1]}}


class Launches:
    """Launches of one small network in one storage folder."""

    def __init__(self, folder: Path, network_file: Path) -> None:
        self.storage, self.network = Storage(folder / "storage"), f"{network_file}:Tiny"

    def plan(self, name: str, rate: float | None = None, **settings: Any) -> Plan:
        """A search over two rates, or with a ``rate`` what is trained with that one only."""
        recipe: dict[str, Any] = {"epochs": 1, "batch_size": 32}
        given = {"search": {"name": "grid", "space": RATES}} if rate is None else {}
        recipe |= {} if rate is None else {"optimizer": {"lr": rate}}
        tree = {"name": name, "variants": [self.network], "trainer": recipe, **given, **settings}
        return make_plan(read_experiment(tree, "x"))

    def trained(self, plan: Plan, measure: bool) -> LaunchFolder:
        """A launch of ``plan`` all of whose trials are complete."""
        folder, _ = open_launch_folder(self.storage.root, plan)
        for spec in plan.trials:
            list(run_trial(spec, make_dataset(), folder.trial(spec.name), measure=measure))
        return folder

    def taken(self, plan: Plan) -> tuple[LaunchFolder, list[str]]:
        """A new launch of ``plan``, and what it has taken over."""
        folder, _ = open_launch_folder(self.storage.root, plan)
        facts = next(self.storage.root.rglob("facts.json")).parent
        torch_version = str(TrialFolder(facts).facts()["machine"]["torch_version"])
        return folder, take_over(folder, plan.trials, self.storage, torch_version)


@pytest.fixture
def launches(tmp_path: Path, network_file: Path) -> Launches:
    return Launches(tmp_path, network_file)


def evaluated_only(folder: LaunchFolder, plan: Plan, name: str) -> bool:
    """Whether the trial goes on from its own folder, where nothing is left to do but evaluate it; it is done here."""
    spec, before = plan.spec(name), TrialFolder(folder.trial(name)).records()
    assert find_checkpoints(folder.path, plan, folder.finished(plan))[name] == folder.trial(name)
    made = list(run_trial(spec, make_dataset(), folder.trial(name)))
    epochs = [record for record in TrialFolder(folder.trial(name)).records() if not record.final]
    return [record.final for record in made] == [True] and epochs == [r for r in before if not r.final]


def test_what_is_taken_over_from_a_search_is_evaluated_before_it_is_compared(launches: Launches) -> None:
    launches.trained(launches.plan("searched", confirm={"seeds": [100]}), measure=False)
    plain = launches.plan("plain", 0.1)
    folder, taken = launches.taken(plain)
    assert taken == ["Tiny/seed-0"]
    assert folder.finished(plain) == {}, "it has no test accuracy, and would never get one"
    assert folder.ended(plain.trials[0]) is None
    assert evaluated_only(folder, plain, "Tiny/seed-0")
    assert folder.finished(plain) == {"Tiny/seed-0": Status.COMPLETE}
    search = launches.plan("again", confirm={"seeds": [100]})
    folder, taken = launches.taken(search)
    assert sorted(taken) == sorted(spec.name for spec in search.trials)
    assert folder.finished(search).keys() == set(taken), "a search needs no test accuracy"


def test_of_several_launches_the_one_that_has_evaluated_the_trial_is_taken_over(launches: Launches) -> None:
    launches.trained(launches.plan("plain", 0.1), measure=True)
    launches.trained(launches.plan("newer", confirm={"seeds": [100]}), measure=False)
    last = launches.plan("last", 0.1)
    folder, taken = launches.taken(last)
    assert taken == ["Tiny/seed-0"]
    assert folder.finished(last) == {"Tiny/seed-0": Status.COMPLETE}


def test_what_a_search_has_trained_or_stopped_goes_on_where_it_is_confirmed(launches: Launches) -> None:
    """A launch of an earlier version may confirm with a seed that it has searched with."""
    search = launches.plan("searched", seeds=[0, 1], confirm={"seeds": [100]})
    complete, stopped = (f"Tiny/seed-1/lr={rate}" for rate in (0.05, 0.1))
    folder = launches.trained(search, measure=False)
    TrialFolder(folder.trial(stopped)).finish(Status.STOPPED, "stopped by the scheduler after epoch 1")
    assert folder.finished(search)[stopped] is Status.STOPPED, "in a search it has ended"
    trials = tuple(replace(spec, stage=CONFIRM) if spec.seed == 1 else spec for spec in search.trials)
    later = replace(search, trials=trials)
    assert folder.finished(later).keys() == folder.finished(search).keys() - {complete, stopped}
    homes = find_checkpoints(folder.path, later, folder.finished(later))
    append(folder.path / RUNGS, Decision(stopped, 1, 0.5, stopped=True))
    waiting = Launch(later, make_dataset(), folder.path, {"CPU": 1.0}, resume_from=homes)
    assert settle_stopped(waiting) == {}, "the scheduler's decision was one on the search"
    assert evaluated_only(folder, later, complete)


def test_in_mlflow_a_trial_has_the_stage_of_the_newest_plan(uri: str, launches: Launches) -> None:
    search = launches.plan("searched", seeds=[0, 1], confirm={"seeds": [100]})
    sink = Sink(open_runs(uri, search, "id"))
    for spec in search.trials:
        sink.on_start(spec.name)
    sink.close(Status.INTERRUPTED)
    trials = tuple(replace(spec, stage=CONFIRM) if spec.seed == 1 else spec for spec in search.trials)
    runs = open_runs(uri, replace(search, trials=trials), "id")
    read = {row.trial: row.stage for row in read_trials(runs.client, runs.parent_run_id)}
    assert read == {spec.name: spec.stage for spec in trials}


@pytest.mark.slow
@pytest.mark.ray
def test_a_launch_that_takes_a_trial_over_from_a_search_evaluates_it(network_file: Path, tmp_path: Path) -> None:
    save_packed(make_dataset(), tmp_path / "tiny.pt")
    tree = {
        "variants": [f"{network_file}:Tiny"], "dataset": {"name": str(tmp_path / "tiny.pt")},
        "trainer": {"epochs": 1, "batch_size": 32}, "tracking": {"reports": "none", "models": "none"},
    }  # fmt: skip
    search = {**tree, "name": "searched", "search": {"name": "grid", "space": RATES}, "confirm": {"seeds": [100]}}
    recipe = {"epochs": 1, "batch_size": 32, "optimizer": {"lr": 0.1}}
    plain = {**tree, "name": "plain", "trainer": recipe, "seeds": [0, 1]}
    for content in (search, plain):
        file = tmp_path / f"{content['name']}.yaml"
        file.write_text(json.dumps(content))
        done = orchestrator("run", str(file), "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "1 trial taken over from launch searched/" in done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert [(trial["trial"], bool(trial["taken_over_from"])) for trial in trials] == [
        ("Tiny/seed-0", True),
        ("Tiny/seed-1", False),
    ]
    assert all(trial["test_accuracy"] is not None for trial in trials)
    assert "Interim" not in json.loads(done.stdout)["verdict"]["sentence"]
