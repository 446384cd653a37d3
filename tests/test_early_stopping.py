"""Stop rules under Ray Tune: each decision is on disk before it is obeyed, and a new driver decides as the old one."""

import random
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated import decided, rule_of, simulate

from orchestrator.errors import StorageError
from orchestrator.records import EPOCH, VAL_ACCURACY
from orchestrator.scheduling.decisions import append, read_log, stopped
from orchestrator.spec import Scheduler


def test_of_two_decisions_in_a_log_the_first_counts_for_every_reader(tmp_path: Path) -> None:
    log = tmp_path / "rungs.jsonl"
    log.write_text('["a", 1, 0.9, false]\n["b", 1, 0.1, true]\n["b", 1, 0.1, false]\n["a", 2, 0.9, fal')
    found = read_log(log)
    assert [(d.name, d.epoch, d.stopped) for d in found] == [("a", 1, False), ("b", 1, True)]
    assert stopped(found) == {"b": 1}
    for name in ("asha", "hyperband", "median"):
        rule = rule_of(Scheduler(name=name, brackets=1), 9, found)
        assert rule.judge("b", 1, 0.1) == (True, None)
    for decision in found:
        append(log, decision)
    assert read_log(log) == found


class Asked:
    """A scheduler on a log, and trials as Tune hands them to it, under another identity in each attempt."""

    def __init__(self, log: Path, settings: Scheduler, epochs: int, attempt: int = 1) -> None:
        from orchestrator.scheduling.early_stopping import EarlyStopping

        self.scheduler, self.epochs, self.attempt = EarlyStopping(settings, epochs, log), epochs, attempt

    def __call__(self, name: str, epoch: int, value: float, saved: bool = True) -> str:
        """What is decided of a result; ``saved``: the worker lives on, so that Tune carries a STOP out."""
        trial: Any = SimpleNamespace(
            trial_id=f"{name}-{self.attempt}", config={"trial": {"name": name, "judged_at": [1]}}
        )
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
    assert ask("net/seed-0", 1, 0.9) == "CONTINUE"
    assert [ask("net/seed-1", 1, 0.1, saved=False) for _ in range(3)] == ["STOP"] * 3
    assert Asked(log, settings, 9, attempt=2)("net/seed-1", 1, 0.1) == "STOP"
    assert len(log.read_text().splitlines()) == 2


NAMES = ("net/seed-0", "net/seed-1", "net/seed-2")


def test_what_cannot_be_kept_is_not_carried_out_and_ends_the_launch(tmp_path: Path) -> None:
    from orchestrator.scheduling.drain import Drain
    from orchestrator.scheduling.early_stopping import EarlyStopping

    log, said = tmp_path / "rungs.jsonl", []
    drain = Drain(said.append)
    scheduler = EarlyStopping(Scheduler(name="asha", reduction_factor=2), 9, log, drain)
    trials = [SimpleNamespace(config={"trial": {"name": name, "judged_at": [1]}}) for name in NAMES]
    scheduler.on_trial_result(None, trials[0], {EPOCH: 1, VAL_ACCURACY: 0.9})
    kept = log.read_text()
    log.unlink()
    log.mkdir()  # nothing can be appended to a folder
    assert scheduler.on_trial_result(None, trials[1], {EPOCH: 1, VAL_ACCURACY: 0.1}) == "STOP"
    assert drain.drained == {NAMES[1]}, "interrupted after its epoch, not stopped by the rule"
    assert drain.stop_all()
    scheduler.on_trial_complete(None, trials[2], {EPOCH: 9, VAL_ACCURACY: 0.9})
    assert drain.drained == {*NAMES[1:]}, "nor has it ended, since that could not be counted"
    [line] = said
    assert line.startswith(f"{log} cannot be read or written: ")
    assert line.endswith("; mend it, then resume")
    log.rmdir()
    log.write_text(kept)
    assert Asked(log, Scheduler(name="asha", reduction_factor=2), 9, attempt=2)(NAMES[1], 1, 0.1) == "STOP"


def test_tune_can_put_a_launch_that_logs_to_a_terminal_into_its_snapshots(tmp_path: Path) -> None:
    from ray import cloudpickle

    from orchestrator.scheduling.drain import Drain
    from orchestrator.scheduling.early_stopping import EarlyStopping

    drain = Drain(sys.stdout.write)  # a stream cannot be pickled
    cloudpickle.dumps((drain, EarlyStopping(Scheduler(name="asha"), 9, tmp_path / "rungs.jsonl", drain)))


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"{tmp_path} cannot be read or written"):
        read_log(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [Scheduler(name="asha"), Scheduler(name="hyperband"), Scheduler(name="median", grace_period=4)],
    ids=lambda settings: settings.name,
)
def test_each_trial_counts_once_at_each_epoch_and_a_lost_driver_changes_nothing(
    tmp_path: Path, settings: Scheduler
) -> None:
    log = tmp_path / "rungs.jsonl"
    stream, epochs = random.Random(3), 30
    names = [f"net/seed-0/lr={i}" for i in range(12)]
    curves = {name: [stream.random() + 0.02 * epoch for epoch in range(epochs)] for name in names}
    if settings.name == "median":  # noise alone has a best that is above any mean
        curves = {name: [value / 99 - place / 12 for value in curves[name]] for place, name in enumerate(names)}
    seconds = {name: stream.uniform(1, 2) for name in names}
    results = simulate(rule_of(settings, epochs), curves, seconds, slots=4)
    for index, result in enumerate(results):
        if index % 37 == 0:  # the driver was lost, at times within a line
            with log.open("a") as cut_off:
                cut_off.write('["net/seed-1", 3,' if index else "")
            ask = Asked(log, settings, epochs, attempt=index)
        ask(*result)
    found = read_log(log)
    assert found == decided(settings, epochs, results)
    assert {decision.epoch for decision in found} == set(range(1, 30) if settings.name == "median" else (1, 3, 9, 27))
    assert max(Counter((d.name, d.epoch) for d in found).values()) == 1
    assert 0 < len(stopped(found)) < len(names)


def test_without_a_rule_there_is_nothing_to_ask(tmp_path: Path) -> None:
    from orchestrator.scheduling.early_stopping import EarlyStopping

    with pytest.raises(ValueError, match="fifo stops no trial"):
        EarlyStopping(Scheduler(), 9, tmp_path / "rungs.jsonl")
