"""The metrics of a launch's own run in MLflow, by which launches are compared."""

from orchestrator.records import Status
from orchestrator.reporting.comparison.spending import Share, trained_seconds
from orchestrator.tracking.artifacts import WALL_SECONDS
from orchestrator.workflow.results import Results


def launch_metrics(result: Results, share: Share, wall_seconds: float) -> dict[str, float]:
    """The metrics of the launch's own run, for comparing launches; ``share`` is what a trial reserves.

    What was spent is that of all trials, those included that have been left out of the plan since.
    ``wall_seconds`` of this process are added to those of earlier ones.
    """
    trained = trained_seconds([*result.rows, *result.left_out_rows])
    metrics = {f"trials/{status}": sum(t.status == status for t in result.rows) for status in Status}
    best = result.comparison.rows[0].test_accuracy if result.comparison.rows else None
    return {
        **metrics,
        **({} if best is None else {"best_variant/test_accuracy": best}),  # mean over its compared trials
        WALL_SECONDS: wall_seconds,
        "cpu_seconds": trained * (share.cpus or 0.0),  # reserved while training, busy or not
        "gpu_seconds": trained * (share.gpus or 0.0),
        **({} if share.price_per_second is None else {"price": trained * share.price_per_second}),
    }
