"""What reports are made with, imported beforehand. This module imports nothing heavy: a driver names it early."""

import importlib

from orchestrator.lazy import no_garbage_collection


def warm_up() -> None:
    """In any process: import what reports and models are made with, while the first trials wait for their workers."""
    with no_garbage_collection():
        importlib.import_module("orchestrator.reporting.figures")
        importlib.import_module("orchestrator.cli.reports")
        importlib.import_module("mlflow.pytorch")
        importlib.import_module("torch.export._trace")
