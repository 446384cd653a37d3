"""Wall time of a small real study, five variants and two seeds: ours against two. Run: python benchmarks/study.py.

Ours is `orchestrator run` with everything it does: contract, Ray, MLflow, figures, reports, comparison. Theirs train
the published pipeline with the same recipe, one trial after another in one process with every core, or under plain Ray
Tune with its MLflowLoggerCallback, one core a trial; they keep figures of each epoch and nothing else.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import Comparison, pictures, report
from published import PIPELINE, Settings, train_whole

from orchestrator.architectures import VARIANTS
from orchestrator.data import Dataset, Split, save_packed
from orchestrator.data.packed import load_packed
from orchestrator.spec import Optimizer

SEQUENTIAL_MUST_REACH = 3.0  # times less wall time
RAY_MUST_REACH = 2.0
SEEDS = (0, 1)
SETTINGS: Settings = (128, Optimizer(lr=0.05, weight_decay=0.0005))
SIDES = ("ours", "sequential", "ray")


def make_data(folder: Path, images: int, data_dir: Path | None) -> Path:
    """A packed file with ``images`` pictures to learn from and a quarter as many to test."""
    every, labels = pictures(images + images // 4, data_dir)
    train, test = Split(every[:images], labels[:images]), Split(every[images:], labels[images:])
    save_packed(Dataset("study", train, test, tuple(f"class {i}" for i in range(10))), folder / "study.pt")
    return folder / "study.pt"


def experiment(data: Path, epochs: int, variants: list[str]) -> dict[str, Any]:
    """The experiment file, which JSON is YAML enough for."""
    batch_size, optimizer = SETTINGS
    return {
        "name": "study",
        "variants": variants,
        "seeds": list(SEEDS),
        "dataset": {"name": str(data)},
        "trainer": {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": {"name": optimizer.name, "lr": optimizer.lr, "weight_decay": optimizer.weight_decay},
            "schedule": {"name": "constant"},
            "augmentation": list(PIPELINE),
        },
    }


def ours(folder: Path, data: Path, epochs: int, variants: list[str]) -> None:
    """The study as a user runs it."""
    file = folder / "study.yaml"
    file.write_text(json.dumps(experiment(data, epochs, variants)))
    where = ["--storage", str(folder / "storage"), "--tracking-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    subprocess.run([sys.executable, "-m", "orchestrator", "run", str(file), *where, "--quiet"], check=True, cwd=folder)


def _splits(data: Path) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    dataset = load_packed(data, "study")
    return (dataset.train.images, dataset.train.labels), (dataset.test.images, dataset.test.labels)


def sequential(folder: Path, data: Path, epochs: int, variants: list[str]) -> None:
    """One trial after another; the DataLoader has a worker for every core."""
    for variant in variants:
        for seed in SEEDS:
            train_whole(variant, seed, SETTINGS, epochs, *_splits(data), os.cpu_count() or 1, lambda figures: None)


def ray(folder: Path, data: Path, epochs: int, variants: list[str]) -> None:
    """Plain Ray Tune: a process a trial, side by side, recorded by its own callback."""
    from orchestrator.scheduling.session import ray_session

    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    with ray_session():
        from ray import tune
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        def trial(config: dict[str, Any]) -> None:
            train_whole(config["variant"], config["seed"], SETTINGS, epochs, *_splits(data), 0, tune.report)

        results = tune.Tuner(
            tune.with_resources(trial, {"CPU": 1}),
            param_space={"variant": tune.grid_search(variants), "seed": tune.grid_search(list(SEEDS))},
            run_config=tune.RunConfig(
                name="study",
                storage_path=str(folder / "storage"),
                callbacks=[MLflowLoggerCallback(f"sqlite:///{folder / 'mlflow.db'}", experiment_name="study")],
                verbose=0,
            ),
        ).fit()
        assert not results.errors, results.errors


def wall_time(side: str, data: Path, epochs: int, variants: list[str]) -> float:
    """Seconds of one side, in a process of its own from its start to its end, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        command = [sys.executable, __file__, "--side", side, "--folder", folder, "--data", str(data)]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--epochs", str(epochs), "--variants", *variants], check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - started


def main() -> int:
    """Three sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side, at least 3")
    parser.add_argument("--images", type=int, default=4096, help="pictures to learn from")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies (default: random pictures of its shape)")
    for name, kind in (("side", str), ("folder", Path), ("data", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.side:
        {"ours": ours, "sequential": sequential, "ray": ray}[flags.side](
            flags.folder, flags.data, flags.epochs, flags.variants
        )
        return 0
    if flags.repeats < 3:
        parser.error("--repeats: at least 3")
    with tempfile.TemporaryDirectory(prefix="study-") as name:
        data = make_data(Path(name), flags.images, flags.data_dir)
        rounds = [
            {side: wall_time(side, data, flags.epochs, flags.variants) for side in SIDES} for _ in range(flags.repeats)
        ]
    costs = {side: [times[side] for times in rounds] for side in SIDES}
    comparisons = [
        Comparison("one trial after another", costs["ours"], costs["sequential"], "seconds", SEQUENTIAL_MUST_REACH),
        Comparison("plain Ray Tune and its callback", costs["ours"], costs["ray"], "seconds", RAY_MUST_REACH),
    ]
    size = f"{len(flags.variants)} variants, {len(SEEDS)} seeds, {flags.epochs} epochs of {flags.images} pictures"
    spent = ", ".join(f"{side} {statistics.median(times):.0f} s" for side, times in costs.items())
    remarks = {"study": size, "median wall time": spent}
    return report("study", comparisons, as_json=flags.json, remarks=remarks)


if __name__ == "__main__":
    sys.exit(main())
