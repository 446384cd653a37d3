"""Replay many trials of ASHA, once undisturbed and once with kills of the deciding process, and compare the two.

`python benchmarks/simulation.py [--trials 10000] [--kills 3] [--json]`. Nothing is trained. The exit code is 1 where
the two replays differ in any trial, decision or time. Processor time is that of this process, on one core.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.replay import Replayed, replay
from orchestrator.spec import Distribution, Experiment, Recipe, Scheduler, Search, Variant

VARIANTS = ("stride", "grouped_concat", "dilated_separable", "dilated_stride", "depthwise_stride")
MUST_REACH = 60.0  # seconds of processor time, for 10,000 trials with their kills
WORKERS = 100


def experiment(trials: int) -> Experiment:
    """A random search under ASHA with about so many trials of at most 81 epochs."""
    space = {
        "trainer.optimizer.lr": Distribution(loguniform=(0.001, 1.0)),
        "trainer.optimizer.weight_decay": Distribution(loguniform=(0.00001, 0.01)),
    }
    return Experiment(
        name="simulation",
        variants=tuple(Variant(name=name) for name in VARIANTS),
        trainer=Recipe(epochs=81),
        search=Search(samples=max(trials // len(VARIANTS), 1), space=space),
        scheduler=Scheduler(name="asha"),
    )


def timed(asked: Experiment, kills: Collection[int] = ()) -> tuple[Replayed, float]:
    """A replay and the seconds of processor time that it took."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        done = replay(asked, Laws(Law(), asked), WORKERS, Path(folder), kills)
    return done, time.process_time() - started


def main() -> int:
    """Measure both replays once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3, help="of the deciding process, at random points")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    undisturbed, seconds = timed(experiment(asked.trials))
    kills = random.Random(2026).sample(range(1, undisturbed.points), asked.kills)
    killed, seconds_with_kills = timed(experiment(asked.trials), kills)
    found = {
        "trials": len(undisturbed.results),
        "epochs": sum(result.epochs for result in undisturbed.results.values()),
        "decisions": len(undisturbed.decisions),
        "seconds": round(seconds, 1),
        "kills": killed.restarts,
        "seconds_with_kills": round(seconds_with_kills, 1),
        "must_reach": MUST_REACH,
        "reached": seconds_with_kills <= MUST_REACH,
        "equal": undisturbed.equals(killed),
    }
    if asked.json:
        json.dump(found, sys.stdout, indent=1)
    else:
        print("\n".join(f"{name:18} {value}" for name, value in found.items()))
    return 0 if found["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
