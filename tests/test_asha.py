"""ASHA's rule: Ray's own is its oracle, a decision is made once and for ever, and a restart changes none."""

import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from simulated import decided, simulate

from orchestrator.records import EPOCH, VAL_ACCURACY
from orchestrator.scheduling.asha_log import append, read_log, stopped
from orchestrator.scheduling.asha_rule import Rungs
from orchestrator.spec import Scheduler

VALUES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.77, 0.8, 1.0]) | st.floats(0, 1)


@st.composite
def launches(draw: st.DrawFn) -> tuple[Scheduler, int, list[tuple[str, int, float]]]:
    """Settings, epochs, and results of some trials in any order; some epochs of a trial may never be told."""
    settings = Scheduler(
        name="asha", grace_period=draw(st.integers(1, 6)), reduction_factor=draw(st.sampled_from([2, 3, 4, 5]))
    )
    epochs = draw(st.integers(1, 30))
    names = [f"trial-{i}" for i in range(draw(st.integers(1, 8)))]
    turns = draw(st.lists(st.tuples(st.sampled_from(names), st.integers(1, 3), VALUES), max_size=80))
    at: Counter[str] = Counter()
    results = []
    for name, ahead, value in turns:
        at[name] += ahead
        if at[name] < epochs:  # Tune does not ask about the last epoch
            results.append((name, at[name], value))
    return settings, epochs, results


@given(launches())
def test_the_rule_is_rays(launch: tuple[Scheduler, int, list[tuple[str, int, float]]]) -> None:
    from ray.tune.schedulers import ASHAScheduler

    settings, epochs, results = launch
    theirs = ASHAScheduler(
        time_attr=EPOCH, metric=VAL_ACCURACY, mode="max", max_t=epochs, stop_last_trials=False,
        grace_period=min(settings.grace_period, epochs), reduction_factor=settings.reduction_factor,
    )  # fmt: skip
    for name in {name for name, _, _ in results}:
        theirs.on_trial_add(None, SimpleNamespace(trial_id=name))
    ours, ended = Rungs(settings, epochs), set()
    for name, epoch, value in results:
        if name not in ended:
            said = theirs.on_trial_result(None, SimpleNamespace(trial_id=name), {EPOCH: epoch, VAL_ACCURACY: value})
            stop, _ = ours.judge(name, epoch, value)
            assert stop == (said == "STOP"), (name, epoch)
            if stop:
                ended.add(name)


@given(launches(), st.randoms(use_true_random=False))
def test_a_decision_stands_whoever_asks_how_often(
    launch: tuple[Scheduler, int, list[tuple[str, int, float]]], stream: random.Random
) -> None:
    settings, epochs, results = launch
    undisturbed = decided(settings, epochs, results)
    rungs, log = Rungs(settings, epochs), []
    answers: dict[tuple[str, int], bool] = {}
    for name, epoch, value in results:
        before = [result for result in results if result[0] == name and result[1] <= epoch]
        lost = stream.choice([[], before[-2:], before[:1]])  # a worker was lost: these epochs are trained again
        for again, (_, at, accuracy) in enumerate([(name, epoch, value), *lost]):
            stop, decision = rungs.judge(name, at, accuracy)
            assert stop == answers.setdefault((name, at), stop)
            assert decision is None or again == 0
            log += [decision] if decision else []
        if stream.random() < 0.2:  # the driver was lost
            rungs = Rungs(settings, epochs, log)
    assert log == undisturbed
    for name, ended in stopped(log).items():
        assert rungs.judge(name, ended, 1.0)[0]
        assert rungs.judge(name, ended + 1, 1.0)[0]


def test_of_two_decisions_in_a_log_the_first_counts_for_every_reader(tmp_path: Path) -> None:
    log = tmp_path / "rungs.jsonl"
    log.write_text('["a", 1, 0.9, false]\n["b", 1, 0.1, true]\n["b", 1, 0.1, false]\n["a", 2, 0.9, fal')
    found = read_log(log)
    assert [(d.name, d.epoch, d.stopped) for d in found] == [("a", 1, False), ("b", 1, True)]
    assert stopped(found) == {"b": 1}
    assert Rungs(Scheduler(name="asha"), 9, found).judge("b", 1, 0.1) == (True, None)
    for decision in found:
        append(log, decision)
    assert read_log(log) == found


class Asked:
    """A scheduler on a log, and trials as Tune hands them to it, under another identity in each attempt."""

    def __init__(self, log: Path, settings: Scheduler, epochs: int, attempt: int = 1) -> None:
        from orchestrator.scheduling.asha import ASHA

        self.scheduler, self.epochs, self.attempt = ASHA(settings, epochs, log), epochs, attempt

    def __call__(self, name: str, epoch: int, value: float, saved: bool = True) -> str:
        """What is decided of a result; ``saved``: the worker lives on, so that Tune carries a STOP out."""
        trial: Any = SimpleNamespace(trial_id=f"{name}-{self.attempt}", config={"trial": {"name": name}})
        result = {EPOCH: epoch, VAL_ACCURACY: value}
        self.scheduler.on_trial_add(None, trial)
        said = "STOP" if epoch == self.epochs else str(self.scheduler.on_trial_result(None, trial, result))
        if not saved:
            self.scheduler.on_trial_error(None, trial)
        elif said == "STOP":
            self.scheduler.on_trial_complete(None, trial, result)
        else:
            self.scheduler.on_trial_remove(None, trial)
        assert isinstance(self.scheduler.debug_string(), str)
        return said


def test_a_worker_that_dies_after_its_stop_stays_stopped(tmp_path: Path) -> None:
    log, settings = tmp_path / "rungs.jsonl", Scheduler(name="asha", reduction_factor=2)
    ask = Asked(log, settings, 9)
    assert ask("good", 1, 0.9) == "CONTINUE"
    assert [ask("bad", 1, 0.1, saved=False) for _ in range(3)] == ["STOP"] * 3
    assert Asked(log, settings, 9, attempt=2)("bad", 1, 0.1) == "STOP"
    assert len(log.read_text().splitlines()) == 2


def test_only_rungs_are_logged_and_each_trial_counts_once_in_each(tmp_path: Path) -> None:
    log, settings = tmp_path / "rungs.jsonl", Scheduler(name="asha")
    stream, epochs = random.Random(3), 30
    names = [f"t/seed-{i}" for i in range(12)]
    curves = {name: [stream.random() + 0.02 * epoch for epoch in range(epochs)] for name in names}
    seconds = {name: stream.uniform(1, 2) for name in names}
    results = simulate(Rungs(settings, epochs), curves, seconds, slots=4)
    for index, result in enumerate(results):
        if index % 37 == 0:  # the driver was lost, at times within a line
            with log.open("a") as cut_off:
                cut_off.write('["t/seed-1", 3,' if index else "")
            ask = Asked(log, settings, epochs, attempt=index)
        ask(*result)
    found = read_log(log)
    assert found == decided(settings, epochs, results)
    assert {decision.epoch for decision in found} == {1, 3, 9, 27}
    assert max(Counter((d.name, d.epoch) for d in found).values()) == 1
    assert 0 < len(stopped(found)) < len(names)
