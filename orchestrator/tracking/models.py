"""Networks as MLflow's logged models: exported on free cores, logged by the driver."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.errors import TrackingError
from orchestrator.files import FULL, write_folder
from orchestrator.text import first_line
from orchestrator.tracking.artifacts import artifacts_at
from orchestrator.tracking.tags import MODEL  # a run's tag, its logged model's name and the trial folder's folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from torch import Tensor, nn

    from orchestrator.data import Normalisation

MODEL_FILE = "MLmodel"  # MLflow's own: a folder without it is no model
IMAGES = (  # in a model's metadata: what it takes
    "(N, C, H, W) as the dataset has them: uint8, or float32 from 0 to 255, never from 0 to 1; "
    "normalised inside, computed in float32"
)


def save_model(
    network: "nn.Module", normalisation: "Normalisation", classes: Sequence[str], images: "Tensor", path: Path
) -> None:
    """Write ``network`` (evaluation mode, CPU) with its normalisation as an MLflow model for unnormalised images.

    ``images``: (N, C, H, W) uint8, at least two, as the dataset has them; they become the input example. The model
    takes any number of such images, or the same as float32 from 0 to 255 when it is called as a torch module, and
    computes logits (N, classes) in float32. ``classes`` (names in the order of the logits) and the normalisation are in
    the model's metadata. It is saved without pickle and loads without this package. The folder ``path`` is complete or
    absent. Raises TrackingError if torch.export cannot trace the network.
    """
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    try:
        model = _with_normalisation(network.float(), normalisation)
        with torch.no_grad():
            outputs = model(images).shape[1]
        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *images.shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, outputs))]),
        )
        write_folder(
            path,
            lambda partial: mlflow.pytorch.save_model(
                model,
                str(partial),
                signature=signature,
                input_example=images.numpy(),
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
                serialization_format="pt2",
                metadata={
                    "classes": list(classes),
                    "images": IMAGES,
                    "normalisation": {"mean": list(normalisation.mean), "std": list(normalisation.std)},
                },
            ),
        )
    except Exception as problem:  # the user's network runs here, traced by torch.export: it may raise anything
        if isinstance(problem, OSError) and problem.errno in FULL:
            raise  # not the network's fault: the model can be written when there is space
        raise TrackingError(f"the network cannot be exported as an MLflow model: {first_line(problem)}") from problem


def _with_normalisation(network: "nn.Module", normalisation: "Normalisation") -> "nn.Module":
    """A module in evaluation mode that normalises images as training did; it returns the logits of ``network``."""
    import torch

    from orchestrator.analysis.outputs import main_output
    from orchestrator.data.normalisation import scale_and_shift

    class FromImages(torch.nn.Module):
        scale: torch.Tensor
        shift: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            scale, shift = scale_and_shift(normalisation, torch.device("cpu"))
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)

        def forward(self, images: torch.Tensor) -> Any:
            # No conversion by name: torch.export would then hold every later input to the example's dtype.
            return main_output(self.network(torch.addcmul(self.shift, images, self.scale)))

    return FromImages().eval()


def find_model(client: "MlflowClient", run: Any) -> "LoggedModel | None":
    """The finished logged model of ``run`` (MLflow's entity), or None."""
    return next((model for model in _models(client, run) if str(model.status) == "READY"), None)


def log_model(client: "MlflowClient", run_id: str, saved: Path) -> str:
    """Log the MLflow model in the folder ``saved`` as the run's logged model; returns its id.

    A second call finds it; what a killed process left incomplete is logged again, and so is the network of a trial that
    was trained anew, in place of the one that had another test accuracy.
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model

    run = client.get_run(run_id)
    if (found := find_model(client, run)) is not None and _is_of(found, run):
        return str(found.model_id)
    for other in _models(client, run):  # half made, or of earlier training
        client.delete_logged_model(other.model_id)
    model = client.create_logged_model(
        run.info.experiment_id, MODEL, source_run_id=run_id, params=dict(run.data.params)
    )
    with tempfile.TemporaryDirectory() as folder:
        description = Model.load(str(saved))
        description.model_uuid = description.model_id = model.model_id
        description.run_id, description.artifact_path = run_id, model.artifact_location
        description.save(f"{folder}/{MODEL_FILE}")
        artifacts = artifacts_at(client, model.artifact_location)
        artifacts.log_artifacts(str(saved))
        artifacts.log_artifacts(folder)  # with the ids that the exporting process could not know
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    for name in run.data.metrics.keys() & {keys.TEST_ACCURACY, keys.PARAMETERS}:  # as the run has them: no second value
        last = client.get_metric_history(run_id, name)[-1]
        same = Metric(name, last.value, last.timestamp, last.step, model_id=model.model_id, run_id=run_id)
        client.log_batch(run_id, metrics=[same])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _is_of(model: "LoggedModel", run: "Run") -> bool:
    """Whether ``model`` has the test accuracy that ``run`` has now, as far as both are known."""
    known = [metric.value for metric in model.metrics or () if metric.key == keys.TEST_ACCURACY]
    return not known or run.data.metrics.get(keys.TEST_ACCURACY, known[-1]) == known[-1]


def _models(client: "MlflowClient", run: Any) -> "list[LoggedModel]":
    return list(
        client.search_logged_models(
            [run.info.experiment_id], filter_string=f"name = '{MODEL}' AND source_run_id = '{run.info.run_id}'"
        )
    )
