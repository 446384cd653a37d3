"""The trials of a launch, read back from MLflow: a row for each."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.records import Record, Status, TrialRow
from orchestrator.tracking.names import metrics_of
from orchestrator.tracking.runs import trials_of
from orchestrator.tracking.tags import (
    CONFIRM_SEEDS,
    LEFT_OUT,
    NUMBER,
    PLACE,
    REASON,
    SEED,
    SETTINGS,
    STAGE,
    STATUS,
    TAKEN_OVER,
    TARGET,
    TRIAL,
    VARIANT,
    from_parts,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def read_trials(client: "MlflowClient", parent_run_id: str, target: float | None = None) -> list[TrialRow]:
    """Every trial recorded under the launch's parent run that is in its plan, in the order of the plan.

    Epochs are counted to ``target``, a fraction; None means the launch's own. Trials of earlier versions, which have no
    number, come in the order in which they started.
    """
    return read_every_trial(client, parent_run_id, target)[0]


def read_every_trial(
    client: "MlflowClient", parent_run_id: str, target: float | None = None
) -> tuple[list[TrialRow], list[TrialRow]]:
    """The rows of :func:`read_trials`, and those of trials that are no longer in the plan: recorded, not compared."""
    parent = client.get_run(parent_run_id)
    target = float(parent.data.tags.get(TARGET, 1.0)) if target is None else target
    runs = trials_of(client, str(parent.info.experiment_id), parent_run_id)
    planned = sorted((run for run in runs if LEFT_OUT not in run.data.tags), key=_place)
    left_out = sorted((run for run in runs if LEFT_OUT in run.data.tags), key=lambda run: run.data.tags.get(TRIAL, ""))
    rows = [_row(client, run, target) for run in planned]
    if not parent.data.tags.get(CONFIRM_SEEDS):  # the launch has one stage
        rows = [replace(row, stage="") for row in rows]
    counted = {run.info.run_id: float(run.data.tags.get(TARGET) or target) for run in left_out}  # to none of today's
    return rows, [_row(client, run, counted[run.info.run_id]) for run in left_out]


def _place(run: "Run") -> tuple[int, ...]:
    place = run.data.tags.get(PLACE, run.data.tags.get(NUMBER, "0"))
    return tuple(map(int, place.split(".")))


def _row(client: "MlflowClient", run: Any, target: float) -> TrialRow:
    metrics, tags = metrics_of(run), run.data.tags
    complete = tags.get(STATUS) == "complete"
    # It has not ended, or its epochs were counted to another target or, by an earlier version, to one that is not told.
    if STATUS not in tags or keys.EPOCHS not in metrics or tags.get(TARGET) != str(target):
        metrics.pop(keys.EPOCHS_TO_TARGET, None)
        metrics |= keys.summary(_records(client, run), target)
    return TrialRow(
        trial=tags.get(TRIAL, run.info.run_name),
        run_id=str(run.info.run_id),
        variant=tags.get(VARIANT, ""),
        seed=int(tags.get(SEED, 0)),
        status=Status.recorded(tags.get(STATUS, "running"), tags.get(REASON, "")),
        reason=tags.get(REASON, ""),
        epochs=int(metrics[keys.EPOCHS]),
        parameters=_whole(metrics.get(keys.PARAMETERS)),
        macs=_whole(metrics.get(keys.MACS)),
        receptive_field=_whole(metrics.get(keys.RECEPTIVE_FIELD)),
        val_accuracy=metrics.get(keys.BEST_VAL_ACCURACY),
        test_accuracy=metrics.get(keys.TEST_ACCURACY) if complete else None,
        seconds=metrics.get(keys.SECONDS),
        epochs_to_target=_whole(metrics.get(keys.EPOCHS_TO_TARGET)),
        settings=json.loads(from_parts(tags, SETTINGS) or "{}"),
        sample=_whole_text(run.data.params.get("sample")),
        stage=tags.get(STAGE, ""),
        planned_epochs=_whole_text(run.data.params.get("trainer.epochs")),
        forward_seconds=metrics.get(keys.FORWARD_SECONDS),
        forward_seconds_batched=metrics.get(keys.FORWARD_SECONDS_BATCHED),
        taken_over_from=tags.get(TAKEN_OVER, ""),
        computed_in=tags.get(keys.COMPUTED_IN, ""),
        torch_version=tags.get(keys.TORCH_VERSION, ""),
    )


def _records(client: "MlflowClient", run: Any) -> list[Record]:
    """A run's epochs from its metric histories: accuracy and seconds of each, and which one was chosen."""
    judged = keys.VAL_ACCURACY if keys.VAL_ACCURACY in run.data.metrics else keys.TEST_ACCURACY
    epochs: dict[int, dict[str, float]] = {}
    for name in {judged, keys.EPOCH_SECONDS} & run.data.metrics.keys():
        for metric in client.get_metric_history(run.info.run_id, name):
            if metric.step > 0:
                epochs.setdefault(int(metric.step), {})[name] = float(metric.value)
    records = [Record(epoch, 0.0, metrics) for epoch, metrics in sorted(epochs.items())]
    if keys.BEST_EPOCH in run.data.metrics:
        records.append(Record(0, 0.0, {keys.BEST_EPOCH: run.data.metrics[keys.BEST_EPOCH]}, final=True))
    return records


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _whole_text(param: str | None) -> int | None:
    return int(param) if param is not None and param.isdecimal() else None
