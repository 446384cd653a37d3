"""Of trials that share a limit for their checkpoints, those stay whose weights somebody is still to read."""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from recording import FACTS

from orchestrator import records as keys
from orchestrator.data import Dataset
from orchestrator.data.arrays import to_arrays
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status, TrialRow
from orchestrator.scheduling.checkpoint_budget import CheckpointBudget
from orchestrator.scheduling.launch_folder import open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.selection import chosen_trials, representative
from orchestrator.spec import Plan
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.store import connect
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.check import check_experiment
from orchestrator.workflow.delivery import Delivery


def trained(folder: Path, spec_name: str, metrics: dict[str, float], status: Status) -> Outcome:
    """A trial as far as the budget looks at it: weights and one epoch."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.pt").write_bytes(bytes(1000))
    (folder / "records.jsonl").write_text(json.dumps(Record(1, 1.0, metrics).to_json()) + "\n")
    return Outcome(spec_name, status, folder=folder)


def plan_of(protocol: str) -> Plan:
    trainer = {"protocol": protocol}
    return make_plan(
        read_experiment({"name": "x", "variants": ["stride"], "seeds": [2, 0, 1], "trainer": trainer}, "x")
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("protocol", ["validation", "published"])
@pytest.mark.parametrize("accuracies", [(0.5, 0.5, 0.5), (0.25, 0.5, 0.5), (0.5, 0.75, 0.5)])
def test_the_model_of_a_variant_is_of_a_trial_that_has_kept_its_weights(
    protocol: str, accuracies: tuple[float, ...], order: tuple[int, ...], tmp_path: Path
) -> None:
    plan, rows = plan_of(protocol), []
    judged = keys.VAL_ACCURACY if protocol == "validation" else keys.TEST_ACCURACY
    budget = CheckpointBudget(plan, 1)
    for index in order:  # in which they end
        spec = plan.trials[index]
        metrics = {judged: accuracies[index], keys.TRAIN_LOSS: 1.0}
        budget.add(trained(tmp_path / spec.name, spec.name, metrics, Status.COMPLETE))
        budget.keep()
    for spec, accuracy in zip(plan.trials, accuracies, strict=True):
        held_out = accuracy if protocol == "validation" else None
        rows.append(TrialRow(spec.name, "", spec.label, spec.seed, "complete", val_accuracy=held_out))
    best = representative(chosen_trials(rows)["stride"])
    assert [path.parent.parent for path in tmp_path.rglob("best.pt")] == [tmp_path / best.trial]


def test_what_was_stopped_early_yields_to_what_is_complete(tmp_path: Path) -> None:
    plan = plan_of("validation")
    budget, ends = CheckpointBudget(plan, 1), (Status.STOPPED, Status.STOPPED, Status.COMPLETE)
    for spec, accuracy, status in zip(plan.trials, (0.5, 0.75, 0.25), ends, strict=True):
        budget.add(trained(tmp_path / spec.name, spec.name, {keys.VAL_ACCURACY: accuracy}, status))
        budget.keep()
        assert [path.parent.parent for path in tmp_path.rglob("best.pt")] == [tmp_path / spec.name]


def test_what_is_needed_stays_until_it_is_not(tmp_path: Path) -> None:
    plan = plan_of("validation")
    budget = CheckpointBudget(plan, 1)
    for spec in plan.trials:
        budget.add(trained(tmp_path / spec.name, spec.name, {keys.VAL_ACCURACY: 0.5}, Status.COMPLETE))
    first, second, third = (spec.name for spec in plan.trials)
    assert budget.keep({second}) == [third]
    assert budget.keep() == [second]
    assert (tmp_path / first / "checkpoints" / "best.pt").exists()


class Waiting(Executor):
    """Makes nothing before it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.calls.append((future, lambda: fn(*args, **kwargs)))
        return future

    def make(self) -> None:
        while self.calls:
            future, call = self.calls.pop(0)
            future.set_result(call())


@pytest.mark.slow
def test_weights_stay_until_the_model_that_waits_for_a_core_is_made(
    network_file: Path, packed: Path, dataset: Dataset, uri: str, tmp_path: Path
) -> None:
    tree = {
        "name": "small",
        "variants": [f"{network_file}:Tiny"],
        "seeds": [0, 1],
        "dataset": {"name": str(packed)},
        "trainer": {"epochs": 1, "batch_size": 32},
        "max_checkpoint_bytes": 1,
        "tracking": {"reports": "none", "models": "all"},
    }
    checked = check_experiment(read_experiment(tree, "x"), tmp_path, lambda _: None)
    storage = Storage(tmp_path / "storage")
    folder, _ = open_launch_folder(storage.root, checked.plan)
    runs: Future[Any] = Future()
    runs.set_result(open_launch(connect(uri), uri, folder.name, checked.plan, FACTS, {}, {}, None, folder.id))
    executor, said = Waiting(), []
    delivery = Delivery(checked, folder, storage, runs, executor, to_arrays(dataset), said.append)
    for spec in checked.plan.trials:
        list(run_trial(spec, dataset, folder.trial(spec.name)))
        delivery.on_end(TrialFolder(folder.trial(spec.name)).outcome())
    assert delivery.flush()
    assert len(list(folder.path.rglob("best.pt"))) == 2  # beyond the limit, until both models are made
    executor.make()
    assert delivery.finish_reports(lambda _: None)
    delivery.close(Status.COMPLETE)
    assert said == []
    assert len(list(folder.path.glob("trials/Tiny/*/model/MLmodel"))) == 2
    assert len(list(folder.path.rglob("best.pt"))) == 1
