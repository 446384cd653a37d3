"""Seconds a trivial trial, ours and Ray Tune's. Run: python benchmarks/trial_overhead.py.

Every side trains the same network of seven parameters for one epoch on twelve pictures, one trial at a time, so that
what differs is what is done around a trial. Ray Tune's sides keep and record nothing; ours brings each folder home.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import Comparison, arguments, report

from orchestrator.data import Dataset, Split
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Listener, Outcome
from orchestrator.spec import Plan, TrialSpec

PLAIN_MUST_REACH = 20.0  # times less than Ray Tune as it comes
REUSING_MUST_REACH = 1.0  # times less than Ray Tune with reuse_actors
TRIALS = 40  # of ours and of Ray Tune's with reuse_actors, in one measurement
PLAIN_TRIALS = 5  # they take seconds each
NETWORK = Path(__file__).with_name("trivial.py")


class Ends(Listener):
    """A listener that notes when each trial ended, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_end(self, outcome: Outcome) -> None:
        """The moment at which a person would see it ended."""
        self.times.append(time.perf_counter())


def pace(times: list[float]) -> float:
    """Seconds from one end to the next, without the first: before it the worker was started."""
    return (times[-1] - times[0]) / (len(times) - 1)


def trivial_plan(folder: Path, trials: int) -> Plan:
    """``trials`` trials of one network that differ by their seed."""
    tree = {
        "name": "trivial",
        "variants": [f"{NETWORK}:Trivial"],
        "seeds": list(range(trials)),
        "trainer": {"epochs": 1, "batch_size": 12},
    }
    return make_plan(read_experiment(tree, "benchmark"))


def trivial_data() -> Dataset:
    """Fifteen pictures of 8 x 8, three of them held out."""
    split = Split(torch.arange(15 * 192).to(torch.uint8).view(15, 3, 8, 8), torch.arange(3).repeat(5))
    return Dataset("trivial", split, split, ("a", "b", "c"))


def ours(folder: Path, trials: int) -> float:
    """Seconds a trial of a launch, with its listener and its folders."""
    from orchestrator.scheduling.launch import Launch, run_launch

    ends = Ends()
    target = Path(tempfile.mkdtemp(dir=folder))
    outcomes = run_launch(Launch(trivial_plan(folder, trials), trivial_data(), target, {"CPU": 1.0}, listeners=[ends]))
    assert all(outcome.status == "complete" for outcome in outcomes.values()), outcomes
    return pace(ends.times)


def train(spec: dict[str, Any], dataset: Dataset) -> dict[str, float]:
    """The trial itself, in a folder that is thrown away; returns its last figures."""
    from orchestrator.trial import run_trial

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        records = list(run_trial(TrialSpec.from_json(spec), dataset, Path(scratch) / "trial"))
    return dict(records[-1].metrics)


def plain(spec_and_data: dict[str, Any]) -> None:
    """Ray Tune's function form."""
    from ray import tune

    tune.report(train(spec_and_data["spec"], spec_and_data["data"]))


def tune_pace(trainable: Any, folder: Path, trials: int, reuse: bool) -> float:
    """Seconds a trial of a plain Tuner."""
    from ray import tune

    ends = Ends()

    class Note(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.times.append(time.perf_counter())

        def __getstate__(self) -> dict[str, Any]:
            return {}

    specs = [spec.to_json() for spec in trivial_plan(folder, trials).trials]
    data = trivial_data()
    results = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space={"spec": tune.grid_search(specs), "data": data},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(
            name=f"tune-{time.time_ns()}", storage_path=str(folder), callbacks=[Note()], verbose=0
        ),
    ).fit()
    assert not results.errors, results.errors
    return pace(ends.times)


def reusing() -> Any:
    """Ray Tune's class form, which takes one trial after another in one process."""
    from ray import tune

    class Reusing(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self.given = config

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.given = new_config
            return True

        def step(self) -> dict[str, Any]:
            return {"done": True, **train(self.given["spec"], self.given["data"])}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing is kept."""

    return Reusing


def main() -> int:
    """A Ray of our own with one core, and the three sides in turn in it."""
    flags = arguments(__doc__ or "", repeats=3)
    from orchestrator.scheduling.session import ray_session

    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # workers find this file too
    with tempfile.TemporaryDirectory(prefix="overhead-") as name, ray_session(cpus=1):
        folder = Path(name)
        sides: list[Callable[[], float]] = [
            lambda: ours(folder, TRIALS),
            lambda: tune_pace(plain, folder, PLAIN_TRIALS, reuse=False),
            lambda: tune_pace(reusing(), folder, TRIALS, reuse=True),
        ]
        rounds = [[side() for side in sides] for _ in range(flags.repeats + 1)][1:]
    mine, fresh, reused = ([costs[side] for costs in rounds] for side in range(3))
    comparisons = [
        Comparison("Ray Tune as it comes", mine, fresh, "seconds a trial", PLAIN_MUST_REACH),
        Comparison("Ray Tune with reuse_actors", mine, reused, "seconds a trial", REUSING_MUST_REACH),
    ]
    return report("trial_overhead", comparisons, as_json=flags.json)


if __name__ == "__main__":
    sys.exit(main())
