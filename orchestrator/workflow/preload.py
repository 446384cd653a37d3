"""Import what reports need, in advance. This module itself imports nothing heavy: the driver imports it early."""

import importlib
import tempfile
from pathlib import Path

from orchestrator.lazy import no_garbage_collection


def preload() -> None:
    """In a worker: import what reports and models need, while the first trials wait for their workers.

    MLflow and torch.export import much more when the first model is saved, so one is saved and thrown away.
    """
    with no_garbage_collection(freeze=True):
        for needed in (
            "orchestrator.reporting.figures",
            "orchestrator.workflow.make_report",
            "scipy.stats",
            "sklearn.metrics",
        ):
            importlib.import_module(needed)
        import torch

        from orchestrator.data import measure
        from orchestrator.tracking.models import save_model

        with tempfile.TemporaryDirectory() as folder:
            images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
            save_model(torch.nn.Flatten(), measure(images), ["class"], images, Path(folder) / "model")
