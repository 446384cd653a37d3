"""Reading a launch back from MLflow: one row a trial."""

from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.tracking.runs import KIND, LAUNCH, PARENT, REASON, SEED, STATUS, TARGET, TRIAL, VARIANT

if TYPE_CHECKING:
    from mlflow import MlflowClient


def find_launch(client: "MlflowClient", experiment: str, launch: str | None = None) -> tuple[str, str, float]:
    """Parent run, name and target accuracy (fraction) of a launch: the one asked for, or the newest."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        raise RequestError(f"MLflow has no experiment {experiment!r}; it has: {', '.join(names) or 'none'}")
    wanted = f" and tags.{LAUNCH} = '{launch}'" if launch else ""
    runs = client.search_runs(
        [found.experiment_id], f"tags.{KIND} = 'launch'{wanted}", order_by=["attributes.start_time DESC"], max_results=1
    )
    if not runs:
        raise RequestError(
            f"MLflow's experiment {experiment!r} has no launch{f' {launch!r}' if launch else ''} of ours"
        )
    tags = runs[0].data.tags
    return str(runs[0].info.run_id), str(tags[LAUNCH]), float(tags[TARGET])


def read_trials(client: "MlflowClient", parent_run_id: str) -> list[TrialRow]:
    """Every trial recorded under the launch's parent run, in the order in which they began."""
    experiment_id = str(client.get_run(parent_run_id).info.experiment_id)
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{PARENT}` = '{parent_run_id}'",
            order_by=["attributes.start_time ASC"],
            max_results=1_000,
            page_token=token,
        )
        runs.extend(page)
        token = page.token
        if not token:
            return [_row(client, run) for run in runs]


def _row(client: "MlflowClient", run: Any) -> TrialRow:
    metrics, tags, run_id = run.data.metrics, run.data.tags, str(run.info.run_id)
    judged = keys.VAL_ACCURACY if keys.VAL_ACCURACY in metrics else keys.TEST_ACCURACY
    history = client.get_metric_history(run_id, judged) if judged in metrics else []
    curve = tuple(sorted({(int(m.step), float(m.value)) for m in history if m.step > 0}))
    seconds = client.get_metric_history(run_id, keys.EPOCH_SECONDS) if curve else []
    chosen = dict(curve).get(int(metrics.get(keys.BEST_EPOCH, -1)))
    best = chosen if chosen is not None else max((accuracy for _, accuracy in curve), default=None)
    return TrialRow(
        trial=tags.get(TRIAL, run.info.run_name),
        run_id=run_id,
        variant=tags.get(VARIANT, ""),
        seed=int(tags.get(SEED, 0)),
        status=tags.get(STATUS, "running"),
        reason=tags.get(REASON, ""),
        epochs=max((epoch for epoch, _ in curve), default=0),
        parameters=_whole(metrics.get(keys.PARAMETERS)),
        macs=_whole(metrics.get(keys.MACS)),
        receptive_field=_whole(metrics.get(keys.RECEPTIVE_FIELD)),
        val_accuracy=best if judged == keys.VAL_ACCURACY else None,
        test_accuracy=metrics.get(keys.TEST_ACCURACY) if tags.get(STATUS) == "complete" else None,
        seconds=sum(m.value for m in seconds) if seconds else None,
        curve=curve,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def launch_content(client: "MlflowClient", experiment: str) -> dict[str, dict[str, Any]]:
    """Everything that MLflow holds of the newest launch but times and addresses, by trial, to be compared.

    Metrics keep every value of every step, so that an epoch that was recorded twice shows.
    """
    parent, _, _ = find_launch(client, experiment)
    content: dict[str, dict[str, Any]] = {"the launch": {"status": client.get_run(parent).info.status}}
    for row in read_trials(client, parent):
        run = client.get_run(row.run_id)
        metrics = {
            name: sorted((m.step, m.value) for m in client.get_metric_history(row.run_id, name))
            for name in run.data.metrics
            if "second" not in name
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
