"""Everything that MLflow holds of a launch, for comparing two of them."""

from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.tracking.artifacts import artifacts_of
from orchestrator.tracking.read import find_launch
from orchestrator.tracking.runs import children
from orchestrator.tracking.tags import LEFT_OUT, TRIAL

if TYPE_CHECKING:
    from mlflow import MlflowClient


def launch_content(client: "MlflowClient", experiment: str) -> dict[str, dict[str, Any]]:
    """Everything in MLflow about the newest launch, by trial, for comparison, without times and addresses.

    Metrics keep every value of every step, so that an epoch that was recorded twice is visible.
    """
    parent, _, _ = find_launch(client, experiment)
    launch = client.get_run(parent)
    content: dict[str, dict[str, Any]] = {"the launch": {"status": launch.info.status}}
    for run in children(client, str(launch.info.experiment_id), parent):  # not one a trial: a second one is visible
        run_id, trial = str(run.info.run_id), run.data.tags[TRIAL]
        if LEFT_OUT in run.data.tags:
            continue
        metrics = {
            name: sorted((m.step, m.value) for m in client.get_metric_history(run_id, name))
            for name in run.data.metrics
            if not keys.varies(name)
        }
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        if trial in content:
            content[f"{trial}, a second run"] = {}
        content[trial] = {
            "MLflow status": run.info.status,
            "MLflow params": dict(run.data.params),
            "MLflow tags": tags,
            "MLflow metrics": metrics,
            "MLflow artifacts": sorted(a.path for a in artifacts_of(client, run).list_artifacts()),
        }
    return content
