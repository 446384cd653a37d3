"""What a finished trial sends to MLflow: its folder, and the network as a model that loads without our code."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from orchestrator.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What is sent, in the trial folder's own names; the rest is only needed to carry on.
SENT = ("report.html", "spec.json", "metrics.csv", "outcome.json", "facts.json", "records.jsonl")
SENT_FOLDERS = ("figures", "tables", "model")


def log_folder(client: "MlflowClient", run_id: str, folder: Path) -> None:
    """Send a trial folder's artifacts to the run ``run_id``; sending them again replaces them."""
    for name in SENT:
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    for name in SENT_FOLDERS:
        if (folder / name).is_dir():
            client.log_artifacts(run_id, str(folder / name), name)
    best = folder / "checkpoints" / "best.pt"
    if best.is_file():
        client.log_artifact(run_id, str(best), "checkpoints")


def save_model(network: nn.Module, examples: Tensor, path: Path) -> None:
    """Write ``network`` (evaluation mode, CPU) as an MLflow model with its signature.

    ``examples``: (N, 3, H, W) float32, normalised; becomes the input example. A graph that torch.export can follow
    is saved without pickle and loads where our code is not installed. Raises TrackingError if it cannot be followed.
    """
    import mlflow.pytorch
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    with torch.no_grad():
        classes = network(examples).shape[1]
    float32 = np.dtype("float32")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *examples.shape[1:]))]),
        outputs=Schema([TensorSpec(float32, (-1, classes))]),
    )
    try:
        mlflow.pytorch.save_model(
            network,
            str(path),
            signature=signature,
            input_example=examples.numpy(),
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
            serialization_format="pt2",
        )
    except (RuntimeError, TypeError, ValueError, AssertionError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise TrackingError(f"the network cannot be exported as an MLflow model: {reason}") from problem
