"""Read a launch back from MLflow: one row per trial, its epochs, and what it predicted on the test split."""

import json
import re
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator import records as keys
from orchestrator.errors import RequestError
from orchestrator.records import Record, Status, TrialRow
from orchestrator.spec import DatasetSpec, VerdictSettings
from orchestrator.spec.fields import from_json
from orchestrator.tracking.artifacts import MARK
from orchestrator.tracking.names import metrics_of, unescape
from orchestrator.tracking.runs import children
from orchestrator.tracking.tags import (
    CAUTION,
    COMMAND,
    CONFIRM_SEEDS,
    KIND,
    LAUNCH,
    LAUNCH_ID,
    LEFT_OUT,
    NOTE,
    NUMBER,
    OPENED,
    PLACE,
    PLANNED,
    REASON,
    SEARCHING,
    SEED,
    SETTINGS,
    SOURCE_NAME,
    STAGE,
    STATUS,
    TAKEN_OVER,
    TARGET,
    TRIAL,
    VARIANT,
    VERDICT_SETTINGS,
    from_parts,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Epochs = dict[int, dict[str, float]]  # metrics by epoch
NAME = re.compile(r"[\w.-]+")  # of a launch: that of its folder


@dataclass(frozen=True)
class Predictions:
    """Of every test image its class and the predicted one: (N,) int64 each."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,), whether the prediction is correct."""
        return np.equal(self.labels, self.predicted)


@dataclass(frozen=True)
class Judging:
    """What a launch's results are read with, and what it was made from."""

    verdict: VerdictSettings
    source: str | None = None  # the experiment file
    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the launch's own run
    planned: int | None = None  # trials of its plan; None: an earlier version recorded it
    confirm_seeds: tuple[int, ...] = ()  # of the last stage of a launch in stages; none: it has one stage
    caution: str = ""  # what a verdict must say of rules that were changed after results had been seen
    searching: bool = False  # whether its search suggests further trials when some have ended
    launch_id: str | None = None  # as in its folder; None: an earlier version began it
    command: str = ""  # what a shell runs to amend the launch; empty: its settings came from no file


def find_launch(client: "MlflowClient", experiment: str, launch: str | None = None) -> tuple[str, str, float]:
    """Parent run, name and target accuracy (fraction) of a launch: the requested one, or the one last worked on."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        raise RequestError(f"MLflow has no experiment {experiment!r}; it has: {', '.join(names) or 'none'}")
    wanted = f"tags.{KIND} = 'launch'" + ("" if launch is None else f" and tags.{LAUNCH} = '{launch}'")
    runs: Sequence[Any] = []
    if launch is None or NAME.fullmatch(launch):  # what is no name could mean something in the filter
        newest = [f"tags.{OPENED} DESC", "attributes.start_time DESC"]
        runs = client.search_runs([found.experiment_id], wanted, order_by=newest, max_results=1)
    if not runs:
        raise RequestError(
            f"MLflow's experiment {experiment!r} has no launch{'' if launch is None else f' {launch!r}'}"
        )
    tags = runs[0].data.tags
    return str(runs[0].info.run_id), str(tags[LAUNCH]), float(tags[TARGET])


def trial_runs(client: "MlflowClient", experiment: str, launch: str, launch_id: str | None) -> "dict[str, Run]":
    """The runs of the trials of the launch kept in the folder ``launch``, by trial. Raises RequestError if it has none.

    Launches of earlier versions have no id: they are found by the folder's name.
    """
    known = client.get_experiment_by_name(experiment)
    mine = f"{LAUNCH} = '{launch}'" if launch_id is None else f"{LAUNCH_ID} = '{launch_id}'"
    wanted = f"tags.{KIND} = 'launch' and tags.{mine}"
    parents = [] if known is None else client.search_runs([known.experiment_id], wanted, max_results=1)
    if not parents:
        raise RequestError(f"MLflow has no launch {launch!r} of {experiment!r}; give its store with --tracking-uri")
    runs = children(client, str(parents[0].info.experiment_id), str(parents[0].info.run_id))
    return {run.data.tags[TRIAL]: run for run in runs}


def read_trials(client: "MlflowClient", parent_run_id: str, target: float | None = None) -> list[TrialRow]:
    """Every trial recorded under the launch's parent run that is in its plan, in the order of the plan.

    Epochs are counted to ``target``, a fraction; None means the launch's own. Trials of earlier versions, which have no
    number, come in the order in which they started.
    """
    parent = client.get_run(parent_run_id)
    target = float(parent.data.tags.get(TARGET, 1.0)) if target is None else target
    every = children(client, str(parent.info.experiment_id), parent_run_id)
    runs = sorted((run for run in every if LEFT_OUT not in run.data.tags), key=_place)
    rows = [_row(client, run, target) for run in runs]
    if parent.data.tags.get(CONFIRM_SEEDS):
        return rows
    return [replace(row, stage="") for row in rows]  # the launch has one stage


def read_left_out(client: "MlflowClient", parent_run_id: str) -> list[str]:
    """The launch's trials that are no longer in its plan: recorded, but not compared."""
    experiment = str(client.get_run(parent_run_id).info.experiment_id)
    return sorted(
        run.data.tags.get(TRIAL, "")
        for run in children(client, experiment, parent_run_id, f" and tags.{LEFT_OUT} = 'true'")
    )


def read_predictions(client: "MlflowClient", trials: Sequence[TrialRow]) -> dict[str, Predictions]:
    """By run, what each complete trial predicted on the test split; empty unless all predictions are available.

    Runs of earlier versions have none, and an artifact store may be unreachable: the verdict then says nothing about
    other test images.
    """
    found: dict[str, Predictions] = {}
    with tempfile.TemporaryDirectory() as folder:
        for trial in trials:
            if trial.status != "complete" or trial.test_accuracy is None:
                continue
            try:
                file = client.download_artifacts(trial.run_id, keys.PREDICTIONS, folder)
                labels, predicted = np.loadtxt(file, np.int64, delimiter=",", skiprows=1, unpack=True, ndmin=2)
            except Exception:  # whatever an artifact store raises
                return {}
            if abs(float(np.mean(labels == predicted)) - trial.test_accuracy) > 1e-6:  # not those that were evaluated
                return {}
            found[trial.run_id] = Predictions(labels, predicted)
    first = next(iter(found.values()), None)
    return found if first and all(np.array_equal(first.labels, p.labels) for p in found.values()) else {}


def read_epochs(client: "MlflowClient", run_id: str, names: Container[str] | None = None) -> Epochs:
    """Per-epoch metrics of a trial's run, by epoch: all, or those called ``names``."""
    epochs: Epochs = {}
    if keys.TRAIN_LOSS not in (metrics := client.get_run(run_id).data.metrics):
        return epochs
    wanted = [name for name in metrics if name != keys.TRAIN_LOSS and (names is None or unescape(name) in names)]
    for name in [keys.TRAIN_LOSS, *wanted]:
        for metric in client.get_metric_history(run_id, name):
            if name == keys.TRAIN_LOSS or metric.step in epochs:
                epochs.setdefault(int(metric.step), {})[unescape(name)] = float(metric.value)
    return {epoch: metrics for epoch, metrics in epochs.items() if epoch > 0}


def read_judging(client: "MlflowClient", parent_run_id: str) -> Judging:
    """How the launch's own run says that its results are judged; launches of earlier versions by the defaults."""
    run = client.get_run(parent_run_id)
    data = run.data
    settings = VerdictSettings(**json.loads(data.tags.get(VERDICT_SETTINGS, "{}")))
    description = data.tags.get(NOTE, "").partition(MARK)[0].strip()
    planned = int(data.tags[PLANNED]) if PLANNED in data.tags else None
    confirm_seeds = tuple(json.loads(from_parts(data.tags, CONFIRM_SEEDS) or "[]"))
    return Judging(
        settings,
        data.tags.get(SOURCE_NAME),
        description,
        metrics_of(run),
        planned,
        confirm_seeds,
        data.tags.get(CAUTION, ""),
        data.tags.get(SEARCHING) == "true",
        data.tags.get(LAUNCH_ID),
        from_parts(data.tags, COMMAND),
    )


def read_dataset(client: "MlflowClient", run_id: str) -> tuple[DatasetSpec, str] | None:
    """The dataset of a trial's run, as an experiment file gives it, and its digest; None if it has none."""
    inputs = client.get_run(run_id).inputs
    if inputs is None or not inputs.dataset_inputs:
        return None
    dataset = inputs.dataset_inputs[0].dataset
    source = json.loads(dataset.source)
    try:
        spec = from_json(DatasetSpec, source.get("settings", {"name": source["uri"]}), "dataset")
    except ValueError:  # of another version, with other settings
        spec = DatasetSpec(name=str(source["uri"]))
    return spec, str(dataset.digest)


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
