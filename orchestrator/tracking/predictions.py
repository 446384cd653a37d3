"""What the trials of a launch predicted on the test split, read back from MLflow's artifacts."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator import records as keys
from orchestrator.records import TrialRow
from orchestrator.tracking.artifacts import artifacts_of

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Predictions:
    """Of every test image its class and the predicted one: (N,) int64 each."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,), whether the prediction is correct."""
        return np.equal(self.labels, self.predicted)


def read_predictions(client: "MlflowClient", trials: Sequence[TrialRow]) -> dict[str, Predictions]:
    """By run, what each complete trial predicted on the test split; empty unless all predictions are available.

    Runs of earlier versions have none, and an artifact store may be unreachable: the verdict then says nothing about
    other test images.
    """
    found: dict[str, Predictions] = {}
    with tempfile.TemporaryDirectory() as folder:
        for trial in trials:
            if trial.status != "complete" or trial.test_accuracy is None:
                continue
            try:
                artifacts = artifacts_of(client, client.get_run(trial.run_id))
                file = artifacts.download_artifacts(keys.PREDICTIONS, folder)
                labels, predicted = np.loadtxt(file, np.int64, delimiter=",", skiprows=1, unpack=True, ndmin=2)
            except Exception:  # whatever an artifact store raises
                return {}
            if abs(float(np.mean(labels == predicted)) - trial.test_accuracy) > 1e-6:  # not those that were evaluated
                return {}
            found[trial.run_id] = Predictions(labels, predicted)
    first = next(iter(found.values()), None)
    return found if first and all(np.array_equal(first.labels, p.labels) for p in found.values()) else {}
