"""What a finished trial sends to MLflow: its folder, and the network as a model that loads without our code."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from orchestrator.errors import TrackingError
from orchestrator.files import FULL, write_folder
from orchestrator.records import PREDICTIONS
from orchestrator.tracking.runs import LONGEST_TAG, NOTE, VERDICT

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What is sent, in the trial folder's own names; the rest is only needed to carry on.
SENT = ("report.html", "spec.json", "metrics.csv", "outcome.json", "facts.json", "records.jsonl", PREDICTIONS)
SENT_FOLDERS = ("figures", "tables")
MODEL = "model"  # of a trial folder, and of a run's artifacts
MODEL_FILE = "MLmodel"  # MLflow's own: a folder without it is no model
TRACEBACK = "traceback.txt"  # of a trial whose code raised
COMPARISON = "comparison.html"  # of the launch's own run
# What is above it in a launch's note is the experiment's own description, which may hold rules like this one.
MARK = "\n\n---\n\n<!-- the verdict -->\n\n"


def log_folder(client: "MlflowClient", run_id: str, folder: Path) -> None:
    """Send a trial folder's artifacts to the run ``run_id``; sending them again replaces them."""
    for name in SENT:
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    for name in SENT_FOLDERS:
        if (folder / name).is_dir():
            client.log_artifacts(run_id, str(folder / name), name)
    if (folder / MODEL / MODEL_FILE).is_file():
        client.log_artifacts(run_id, str(folder / MODEL), MODEL)
    best = folder / "checkpoints" / "best.pt"
    if best.is_file():
        client.log_artifact(run_id, str(best), "checkpoints")


def log_traceback(client: "MlflowClient", run_id: str, traceback: str) -> None:
    """Make ``traceback`` the run's, in a file of its own; an empty one takes away what an earlier attempt left."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if traceback:
        client.log_text(run_id, traceback, TRACEBACK)
        return
    with suppress(Exception):  # a store may let nobody remove anything: the trial's end does not hang on that
        if TRACEBACK in {artifact.path for artifact in client.list_artifacts(run_id)}:
            place = client.get_run(run_id).info.artifact_uri
            repository: Any = get_artifact_repository(place, client.tracking_uri)
            repository.delete_artifacts(TRACEBACK)


def log_comparison(client: "MlflowClient", parent_run_id: str, sentence: str, page: str) -> None:
    """Put the HTML ``page`` and the verdict's ``sentence`` where the launch's run is looked at; again replaces them."""
    client.log_text(parent_run_id, page, COMPARISON)
    run = client.get_run(parent_run_id)
    link = f"#/experiments/{run.info.experiment_id}/runs/{parent_run_id}/artifacts/{COMPARISON}"
    opens = f" [**Open the comparison**]({link}): every trial, and how far each variant lies behind the best."
    note = MARK + sentence[: LONGEST_TAG - len(MARK) - len(opens)] + opens
    begun = run.data.tags.get(NOTE, "").partition(MARK)[0].rstrip()
    client.set_tag(parent_run_id, VERDICT, sentence[:LONGEST_TAG])
    client.set_tag(parent_run_id, NOTE, begun[: LONGEST_TAG - len(note)] + note)


def save_model(network: nn.Module, examples: Tensor, path: Path) -> None:
    """Write ``network`` (evaluation mode, CPU) as an MLflow model with its signature.

    ``examples``: (N, 3, H, W) float32, normalised; becomes the input example. A graph that torch.export can follow
    is saved without pickle and loads where our code is not installed. The folder ``path`` is whole or absent. Raises
    TrackingError if the graph cannot be followed.
    """
    import mlflow.pytorch
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    float32 = np.dtype("float32")
    try:
        with torch.no_grad():
            classes = network(examples).shape[1]
        signature = ModelSignature(
            inputs=Schema([TensorSpec(float32, (-1, *examples.shape[1:]))]),
            outputs=Schema([TensorSpec(float32, (-1, classes))]),
        )
        write_folder(
            path,
            lambda partial: mlflow.pytorch.save_model(
                network,
                str(partial),
                signature=signature,
                input_example=examples.numpy(),
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
                serialization_format="pt2",
            ),
        )
    except Exception as problem:  # the user's network runs here, followed by torch.export: it may raise anything
        if isinstance(problem, OSError) and problem.errno in FULL:
            raise  # says nothing of the network: the model can be written when there is room
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise TrackingError(f"the network cannot be exported as an MLflow model: {reason}") from problem
