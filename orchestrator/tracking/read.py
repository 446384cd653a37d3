"""Reading a launch back from MLflow: one row a trial, and which test pictures each got right."""

import re
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.tracking.runs import KIND, LAUNCH, NUMBER, PARENT, REASON, SEED, STATUS, TARGET, TRIAL, VARIANT

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from numpy.typing import NDArray

NAME = re.compile(r"[\w.-]+")  # of a launch: that of its folder


def find_launch(client: "MlflowClient", experiment: str, launch: str | None = None) -> tuple[str, str, float]:
    """Parent run, name and target accuracy (fraction) of a launch: the one asked for, or the newest."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        raise RequestError(f"MLflow has no experiment {experiment!r}; it has: {', '.join(names) or 'none'}")
    wanted = f"tags.{KIND} = 'launch'" + ("" if launch is None else f" and tags.{LAUNCH} = '{launch}'")
    runs: Sequence[Any] = []
    if launch is None or NAME.fullmatch(launch):  # what is no name could mean something in the filter
        runs = client.search_runs([found.experiment_id], wanted, order_by=["attributes.start_time DESC"], max_results=1)
    if not runs:
        raise RequestError(
            f"MLflow's experiment {experiment!r} has no launch{'' if launch is None else f' {launch!r}'} of ours"
        )
    tags = runs[0].data.tags
    return str(runs[0].info.run_id), str(tags[LAUNCH]), float(tags[TARGET])


def read_trials(client: "MlflowClient", parent_run_id: str) -> list[TrialRow]:
    """Every trial recorded under the launch's parent run, in the order of its plan, whichever of them began first.

    The trials of earlier versions, which have no such number, come in the order in which they began.
    """
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
            runs.sort(key=lambda run: int(run.data.tags.get(NUMBER, 0)))
            return [_row(client, run) for run in runs]


def read_right(client: "MlflowClient", trials: Sequence[TrialRow]) -> "dict[str, NDArray[np.bool_]]":
    """By run, which test pictures (N,) each complete trial classified right; empty unless all can be had.

    Runs of earlier versions have no predictions, and an artifact store may be out of reach: chance is then judged by
    the seeds alone, which the verdict says.
    """
    import numpy as np

    found: dict[str, NDArray[np.bool_]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for trial in trials:
            if trial.status != "complete" or trial.test_accuracy is None:
                continue
            try:
                file = client.download_artifacts(trial.run_id, keys.PREDICTIONS, folder)
                labels, predicted = np.loadtxt(file, np.int64, delimiter=",", skiprows=1, unpack=True, ndmin=2)
            except Exception:  # whatever an artifact store raises
                return {}
            right = labels == predicted
            if abs(float(right.mean()) - trial.test_accuracy) > 1e-6:  # not the predictions that were measured
                return {}
            found[trial.run_id] = right
    return found if len({len(right) for right in found.values()}) == 1 else {}


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
        sample=int(sample) if (sample := run.data.params.get("sample", "")).isdecimal() else None,
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
