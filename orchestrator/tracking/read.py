"""Read a launch back from MLflow: one row per trial, its epochs, and what it predicted on the test split."""

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.errors import RequestError
from orchestrator.spec import DatasetSpec, VerdictSettings
from orchestrator.spec.fields import from_json
from orchestrator.tracking.artifacts import MARK
from orchestrator.tracking.names import metrics_of, unescape
from orchestrator.tracking.runs import trials_of
from orchestrator.tracking.tags import (
    CAUTION,
    COMMAND,
    CONFIRM_SEEDS,
    KIND,
    LAUNCH,
    LAUNCH_ID,
    NOTE,
    OPENED,
    PLANNED,
    SEARCHING,
    SHARE,
    SOURCE_NAME,
    TARGET,
    TRIAL,
    VERDICT_SETTINGS,
    from_parts,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Epochs = dict[int, dict[str, float]]  # metrics by epoch
NAME = re.compile(r"[\w.-]+")  # of a launch: that of its folder
NEWEST_FIRST = [f"tags.{OPENED} DESC", "attributes.start_time DESC"]  # launches, the one last worked on first


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
    share: Mapping[str, float | None] | None = None  # what one trial reserves, and its price; None: an earlier version
    opened: str = ""  # when a command last began to work on it, as its tag says; empty: an earlier version did


def find_launch(client: "MlflowClient", experiment: str, launch: str | None = None) -> tuple[str, str, float]:
    """Parent run, name and target accuracy (fraction) of a launch: the requested one, or the one last worked on."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        raise RequestError(f"MLflow has no experiment {experiment!r}; it has: {', '.join(names) or 'none'}")
    wanted = f"tags.{KIND} = 'launch'" + ("" if launch is None else f" and tags.{LAUNCH} = '{launch}'")
    runs: Sequence[Any] = []
    if launch is None or NAME.fullmatch(launch):  # what is no name could mean something in the filter
        runs = client.search_runs([found.experiment_id], wanted, order_by=NEWEST_FIRST, max_results=1)
    if not runs:
        raise RequestError(
            f"MLflow's experiment {experiment!r} has no launch{'' if launch is None else f' {launch!r}'}"
        )
    tags = runs[0].data.tags
    return str(runs[0].info.run_id), str(tags[LAUNCH]), float(tags[TARGET])


def name_launch(client: "MlflowClient", parent_run_id: str) -> tuple[str, str, float]:
    """Experiment, as MLflow calls it now, name and target accuracy (fraction) of the launch with this run."""
    run = client.get_run(parent_run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    return str(experiment.name), str(run.data.tags[LAUNCH]), float(run.data.tags[TARGET])


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
    runs = trials_of(client, str(parents[0].info.experiment_id), str(parents[0].info.run_id))
    return {run.data.tags[TRIAL]: run for run in runs}


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
        json.loads(data.tags[SHARE]) if SHARE in data.tags else None,
        data.tags.get(OPENED, ""),
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
