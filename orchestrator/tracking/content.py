"""Everything that MLflow holds of a launch, for comparing two of them."""

from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.tracking.read import find_launch
from orchestrator.tracking.trial_rows import read_trials

if TYPE_CHECKING:
    from mlflow import MlflowClient


def launch_content(client: "MlflowClient", experiment: str) -> dict[str, dict[str, Any]]:
    """Everything in MLflow about the newest launch, by trial, for comparison, without times and addresses.

    Metrics keep every value of every step, so that an epoch that was recorded twice is visible.
    """
    parent, _, _ = find_launch(client, experiment)
    content: dict[str, dict[str, Any]] = {"the launch": {"status": client.get_run(parent).info.status}}
    for row in read_trials(client, parent):
        run = client.get_run(row.run_id)
        metrics = {
            name: sorted((m.step, m.value) for m in client.get_metric_history(row.run_id, name))
            for name in run.data.metrics
            if not keys.varies(name)
        }
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        if row.trial in content:
            content[f"{row.trial}, a second run"] = {}
        content[row.trial] = {
            "MLflow status": run.info.status,
            "MLflow params": dict(run.data.params),
            "MLflow tags": tags,
            "MLflow metrics": metrics,
            "MLflow artifacts": sorted(a.path for a in client.list_artifacts(row.run_id)),
        }
    return content
