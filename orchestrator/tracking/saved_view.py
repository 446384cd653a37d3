"""The saved view that MLflow's page opens with: every trial with the metrics worth comparing, and its address."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.tracking.names import LONGEST_TAG, flat_name
from orchestrator.tracking.tags import STATUS

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW = "results"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # tags: the page for training, not the one for chats
# Okabe and Ito's colour-blind safe set; a variant keeps its colour in every chart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def publish_view(client: "MlflowClient", experiment_id: str, searched: Sequence[str] = ()) -> None:
    """Save, with the experiment, the view that :func:`address` opens: trials only, the most accurate first.

    The params ``searched`` are among its columns, as many as the store keeps.
    """
    view = json.dumps(_view(searched))
    while len(view) > LONGEST_TAG:
        searched = searched[:-1]
        view = json.dumps(_view(searched))
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", view)


def _view(searched: Sequence[str]) -> dict[str, Any]:
    """The state of MLflow's page, by its own names."""
    metrics = (keys.PARAMETERS, keys.MACS, keys.RECEPTIVE_FIELD, keys.VAL_ACCURACY, keys.TEST_ACCURACY)
    return {
        "searchFilter": 'tags.kind = "trial"',
        "orderByKey": f"metrics.`{keys.TEST_ACCURACY}`",
        "orderByAsc": False,
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in metrics),
            *(f"params.`{name}`" for name in ("variant", "seed", *map(flat_name, searched))),
            f"tags.`{STATUS}`",  # to MLflow a trial that was stopped early has finished, as a complete one
        ],
        "lifecycleFilter": "Active",
        "startTime": "ALL",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
    }


def address(server: str, experiment_id: str) -> str:
    """The address of an experiment's saved view on the MLflow page at ``server``."""
    return f"{server}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}"


def color(position: int) -> str:
    """The colour of the variant at ``position`` in its experiment."""
    return COLORS[position % len(COLORS)]
