"""Results are complete when nothing of the plan is left to do; read from a real store, nothing is trained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from recording import open_runs, record

from orchestrator import records as keys
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import CONFIRM, Outcome, Record, Status
from orchestrator.spec import Plan
from orchestrator.tracking.sink import Sink
from orchestrator.workflow.results import read_results

SEARCH = {"samples": 2, "space": {"trainer.optimizer.lr": {"choice": [0.1, 0.2]}}}
ROUNDS = {"verdict": {"until_decided": True, "max_seeds": 4}, "seeds": [0, 1, 2]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def plan_of(name: str, **settings: Any) -> Plan:
    return make_plan(read_experiment({"name": name, "variants": ["stride", "grouped_concat"], **settings}, "x"))


def record_trials(store: str, plan: Plan, ended: Sequence[str], measured: Sequence[str] | None = None) -> Sink:
    """Each of ``ended`` with three epochs and, if it is among the ``measured``, a test accuracy."""
    sink = Sink(open_runs(store, plan))
    for number, trial in enumerate(ended):
        for epoch in (1, 2, 3):
            sink.on_record(trial, record(epoch))
        final = {keys.BEST_EPOCH: 3.0}
        if measured is None or trial in measured:
            final[keys.TEST_ACCURACY] = 0.7 + 0.01 * (number % 3)
        sink.on_record(trial, Record(3, 1003.0, final, final=True))
        sink.on_end(Outcome(trial, Status.COMPLETE))
    return sink


def is_complete(sink: Sink, name: str) -> bool:
    sink.close(Status.COMPLETE)
    return read_results(sink.runs.client, name).complete


def names(plan: Plan) -> list[str]:
    return [spec.name for spec in plan.trials]


def test_trials_that_never_began_are_missing(store: str) -> None:
    plan = plan_of("plain", seeds=[0, 1])
    assert not is_complete(record_trials(store, plan, []), "plain")
    assert not is_complete(record_trials(store, plan, names(plan)[:-1]), "plain")
    assert is_complete(record_trials(store, plan, names(plan)), "plain")
    assert is_complete(record_trials(store, plan_of("plain", seeds=[0]), []), "plain"), "those left out do not count"
    assert not is_complete(record_trials(store, plan_of("plain", seeds=[0, 1, 2]), []), "plain")


def test_a_search_goes_on_until_it_suggests_nothing_more_and_the_best_are_evaluated(store: str) -> None:
    plan = plan_of("searched", search=SEARCH)
    plan.searching = True
    sink = record_trials(store, plan, names(plan))
    assert sink.flush()
    assert not read_results(sink.runs.client, "searched").complete
    plan.searching = False
    sink.on_plan(())
    assert is_complete(sink, "searched")
    plan = plan_of("unevaluated", search=SEARCH)
    assert not is_complete(record_trials(store, plan, names(plan), measured=[]), "unevaluated")


def test_a_search_that_is_to_be_confirmed_is_not_complete_before(store: str) -> None:
    plan = plan_of("staged", search=SEARCH, confirm={"seeds": [5]})
    searched = names(plan)
    assert not is_complete(record_trials(store, plan, searched, measured=[]), "staged")
    later = plan.add([replace(spec, stage=CONFIRM, seed=5) for spec in plan.trials if spec.sample == 0])
    assert len(later) == 2
    assert not is_complete(record_trials(store, plan, [later[0].name]), "staged")
    assert is_complete(record_trials(store, plan, [later[1].name]), "staged")


def test_a_launch_in_rounds_is_complete_when_no_round_follows(store: str) -> None:
    plan = plan_of("rounds", **ROUNDS)
    assert not is_complete(record_trials(store, plan, names(plan)), "rounds"), "there may be a fourth seed"
    plan.add([replace(spec, seed=3) for spec in plan.trials if spec.seed == 2])
    assert is_complete(record_trials(store, plan, names(plan)[-2:]), "rounds")
