"""What a person writes without us: trivial trials under plain Ray Tune, recorded by its MLflowLoggerCallback.

Run as a process of its own by `startup.py` and `sweep.py`: python benchmarks/plain_tune.py FOLDER TRIALS.
"""

import sys
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from torch import nn
from trivial import Trivial

IMAGES, BATCH = 1_293, 32  # as many as the handwritten digits have to learn from


class Training(tune.Trainable):  # type: ignore[misc]
    """One epoch a trial, one trial after another in one process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing is kept from one trial to the next."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        return True

    def step(self) -> dict[str, Any]:
        """Train on random pictures: there is no file to read."""
        torch.manual_seed(self.config["seed"])
        images, labels = torch.rand(IMAGES, 3, 8, 8), torch.randint(0, 10, (IMAGES,))
        network = Trivial()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        loss = torch.zeros(())
        for batch in torch.arange(IMAGES).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        return {"loss": float(loss), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept."""


def main(folder: Path, trials: int) -> None:
    """One Tuner over so many seeds, with everything it leaves in ``folder``."""
    ray.init(log_to_driver=False)
    callback = MLflowLoggerCallback(f"sqlite:///{folder / 'mlflow.db'}", experiment_name="plain")
    results = tune.Tuner(
        tune.with_resources(Training, {"CPU": 1}),
        param_space={"seed": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder / "storage"), callbacks=[callback], verbose=0),
    ).fit()
    assert not results.errors, results.errors


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
