"""A simulated launch: its events are those of an independent simulation, and kills of its driver change none."""

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import simulate
from simulating import Even, Jagged, replayed, searched

from orchestrator.experiment.plan import make_plan
from orchestrator.records import Status
from orchestrator.scheduling.stop_rules import stop_rule
from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.seams import undisturbed
from orchestrator.spec import Confirm, Experiment, Recipe, Resources, Scheduler, Variant, VerdictSettings


def test_it_decides_as_an_independent_simulation(tmp_path: Path) -> None:
    experiment, curves, workers = searched(60), Jagged(), 7
    done = replayed(tmp_path, experiment, curves, workers)
    known = {spec.name: curves.curve(spec) for spec in make_plan(experiment).trials}
    rule: Any = stop_rule(experiment.scheduler, experiment.trainer.epochs)
    results = simulate(
        rule,
        {name: curve.validation for name, curve in known.items()},
        {name: curve.seconds for name, curve in known.items()},
        workers,
    )
    told = {name: [value for other, _, value in results if other == name] for name in known}
    assert {name: list(done.results[name].curve.values()) for name in known} == told
    last = {name: index for index, (name, _, _) in enumerate(results)}
    assert list(done.ended) == sorted(last, key=lambda name: last[name])
    stopped = {name for name, result in done.results.items() if result.status is Status.STOPPED}
    assert 30 < len(stopped) < 60
    assert stopped == {decision.name for decision in done.decisions if decision.stopped}


@pytest.mark.parametrize("curves", [Jagged(), Even()])
@pytest.mark.parametrize("workers", [1, 8])
def test_kills_change_nothing(tmp_path: Path, curves: Any, workers: int) -> None:
    experiment = searched(12, variants=["stride", "grouped_concat"])
    undisturbed_one = replayed(tmp_path, experiment, curves, workers)
    stream = random.Random(workers)
    for _ in range(3):
        kills = stream.sample(range(1, undisturbed_one.points), 9)
        killed = replayed(tmp_path, experiment, curves, workers, [1, *kills])
        assert killed.restarts == 10
        assert undisturbed_one.equals(killed)


def test_a_thousand_trials_with_kills(tmp_path: Path) -> None:
    experiment = searched(125, 81, ["stride", "grouped_concat", "dilated_separable", "dilated_stride"])
    experiment = replace(experiment, seeds=(0, 1))
    curves = Laws(Law(), experiment)
    undisturbed_one = replayed(tmp_path, experiment, curves, 50)
    assert len(undisturbed_one.results) == 1000
    killed = replayed(tmp_path, experiment, curves, 50, random.Random(1).sample(range(1, undisturbed_one.points), 5))
    assert killed.restarts == 5
    assert undisturbed_one.equals(killed)


@pytest.mark.parametrize("trials", [60, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_benchmark_finds_no_difference(trials: int) -> None:
    benchmark = Path(__file__).parent.parent / "benchmarks" / "simulation.py"
    command = [sys.executable, str(benchmark), "--trials", str(trials), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["trials"], found["kills"], found["equal"]) == (trials, 3, True)


def in_rounds(confirming: bool = False) -> Experiment:
    """Five variants until they are decided; or a search by TPE, whose choices are confirmed until then."""
    names = ["stride", "grouped_concat", "dilated_separable", "dilated_stride"]
    verdict = VerdictSettings(until_decided=True, max_seeds=8, margin=0.004)
    plain = Experiment(name="x", variants=tuple(Variant(name=n) for n in names), trainer=Recipe(epochs=4))
    if not confirming:
        return replace(plain, seeds=(0, 1, 2), verdict=verdict)
    searching = searched(6, 4, names[:2])
    assert searching.search is not None
    return replace(
        searching,
        search=replace(searching.search, name="tpe", per="variant", concurrency=2),
        confirm=Confirm(seeds=(10, 11, 12)),
        verdict=verdict,
    )


@pytest.mark.parametrize("name", ["hyperband", "median"])
def test_kills_change_nothing_for_other_schedulers(tmp_path: Path, name: Literal["hyperband", "median"]) -> None:
    experiment = replace(searched(16), scheduler=Scheduler(name=name))
    undisturbed_one = replayed(tmp_path, experiment, Jagged(), 4)
    assert any(decision.stopped for decision in undisturbed_one.decisions)
    kills = random.Random(name).sample(range(1, undisturbed_one.points), 6)
    assert undisturbed_one.equals(replayed(tmp_path, experiment, Jagged(), 4, kills))


@settings(max_examples=6)
@given(st.sets(st.integers(1, 150), max_size=8), st.integers(1, 5))
def test_rounds_are_decided_alike_after_kills(
    tmp_path_factory: pytest.TempPathFactory, kills: set[int], workers: int
) -> None:
    folder = tmp_path_factory.mktemp("rounds")
    experiment = in_rounds()
    laws = Laws(Law(luck=0.002), experiment)
    undisturbed_one = replayed(folder, experiment, laws, workers)
    seeds = Counter(spec.label for spec in undisturbed_one.plan.trials)
    assert max(seeds.values()) > min(seeds.values()) >= 3
    assert any("gets no more seeds" in line for line in undisturbed_one.said)
    killed = replayed(folder, experiment, laws, workers, kills)
    assert undisturbed_one.equals(killed)
    assert killed.restarts == len([kill for kill in kills if kill <= killed.points])


def test_stages_and_suggestions_come_out_alike_after_kills(tmp_path: Path) -> None:
    experiment = in_rounds(confirming=True)
    laws = Laws(Law(), experiment)
    undisturbed_one = replayed(tmp_path, experiment, laws, 3)
    stages = Counter(spec.stage for spec in undisturbed_one.plan.trials)
    assert stages["search"] == 12
    assert stages["confirm"] >= 6
    confirmed = [spec for spec in undisturbed_one.plan.trials if spec.stage == "confirm"]
    assert all(undisturbed_one.results[spec.name].status is Status.COMPLETE for spec in confirmed)
    for seed in range(3):
        kills = random.Random(seed).sample(range(1, undisturbed_one.points), 6)
        assert undisturbed_one.equals(replayed(tmp_path, experiment, laws, 3, kills))


def test_time_passes_as_on_so_many_workers(tmp_path: Path) -> None:
    experiment = undisturbed(searched(10, epochs=3))
    for workers, limit, seconds in ((1, None, 30.0), (4, None, 9.0), (4, 3, 12.0), (100, None, 3.0)):
        limited = replace(experiment, resources=Resources(max_concurrent_trials=limit))
        done = replayed(tmp_path, limited, Even(), workers)
        assert done.seconds == seconds
        assert sum(result.seconds for result in done.results.values()) == 30.0
        assert all(result.status is Status.COMPLETE for result in done.results.values())


def test_what_happens_at_once_happens_in_the_order_of_the_plan(tmp_path: Path) -> None:
    experiment = undisturbed(searched(5, epochs=2, variants=["stride", "grouped_concat"]))
    done = replayed(tmp_path, experiment, Even(), 4)
    assert list(done.ended) == [spec.name for spec in make_plan(experiment).trials]


def test_a_trial_ends_at_its_target_accuracy(tmp_path: Path) -> None:
    experiment = replace(
        searched(20), trainer=Recipe(epochs=27, stop_at_accuracy=0.8), scheduler=Scheduler(name="fifo")
    )
    done = replayed(tmp_path, experiment, Jagged())
    early = [result for result in done.results.values() if result.epochs < 27]
    assert early
    for result in early:
        *before, last = result.curve.values()
        assert last >= 0.8 > max(before, default=0.0)
        assert result.status is Status.COMPLETE


def test_only_trials_outside_the_search_are_measured(tmp_path: Path) -> None:
    searching = replayed(tmp_path, undisturbed(searched(3)), Jagged())
    assert [result.test_accuracy for result in searching.results.values()] == [None] * 3
    experiment = replace(undisturbed(searched(3)), search=None, seeds=(0, 1))
    plain = replayed(tmp_path, experiment, Jagged())
    for spec in plain.plan.trials:
        curve = Jagged().curve(spec)
        best = max(range(27), key=lambda epoch: curve.validation[epoch])
        assert plain.results[spec.name].test_accuracy == curve.test[best]
