"""The MLflow tree of a launch: one experiment, one parent run, one child run per trial, found again by identity."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.records import PUBLISHED_BEST, TEST_ACCURACY, TRAIN_LOSS, Outcome, Status
from orchestrator.spec import Plan, TrialSpec
from orchestrator.tracking import saved_view
from orchestrator.tracking.names import LONGEST_RUN_NAME, escape_metric, params_of, storable
from orchestrator.tracking.tags import (
    FAILURE,
    KIND,
    LAUNCH,
    LEFT_OUT,
    MODEL,
    NOTE,
    PARENT,
    PLACE,
    PROTOCOL,
    REASON,
    REPORT,
    SEED,
    SETTINGS,
    SPEC_HASH,
    STAGE,
    STATUS,
    STOPPED_EARLY,
    TRIAL,
    VARIANT,
    from_parts,
    in_parts,
    shorten,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_PARAMS = 100  # in one batch; MLflow's limit
PAGE = 1_000  # runs in one answer
LONGEST_DATASET = 500  # characters of a dataset's name; MLflow's limit
TRIALS = f"tags.{KIND} = 'trial'"  # the filter that finds their runs


@dataclass(frozen=True)
class TrialFacts:
    """What is known about a trial before training: numbers to sort by, and tags to filter by."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetFacts:
    """The dataset as MLflow shows it among a run's inputs."""

    name: str
    digest: str
    source: str
    profile: str  # JSON


@dataclass(frozen=True)
class LaunchRuns:
    """Where a launch is recorded."""

    client: "MlflowClient"
    experiment_id: str
    parent_run_id: str
    plan: Plan
    dataset: DatasetFacts
    facts: Mapping[str, TrialFacts]  # by trial name
    tags: Mapping[str, str]  # for every run: commit and the like
    recorded: "dict[str, Run]" = field(default_factory=dict)  # by identity: the trials' runs, as they were when opened
    _asked_for: set[str] = field(default_factory=set)  # trials whose run is being created

    @property
    def launch(self) -> str:
        """The launch's name in MLflow, by which it is read back."""
        return self.tags[LAUNCH]

    def spec(self, trial: str) -> TrialSpec:
        """The specification of the trial called ``trial``."""
        return self.plan.spec(trial)

    def find(self, trial: str) -> "Run | None":
        """The run of ``trial`` in this launch, if it has one."""
        spec_hash = self.spec(trial).identity()
        if trial not in self._asked_for:
            return self.recorded.get(spec_hash)
        mine = f"tags.`{PARENT}` = '{self.parent_run_id}' and tags.{SPEC_HASH} = '{spec_hash}'"
        return next(iter(self.client.search_runs([self.experiment_id], mine, max_results=1)), None)

    def is_delivered(self, outcome: Outcome, measured: bool = False) -> bool:
        """Whether the trial's run says that, and how, it ended: the last thing that is written of a trial.

        If it has been ``measured`` on the test split, that must be there as well.
        """
        run = self.find(outcome.trial)
        if run is None or run.info.status == "RUNNING":
            return False
        if measured and not {TEST_ACCURACY, PUBLISHED_BEST} & run.data.metrics.keys():
            return False
        return (run.data.tags.get(STATUS), run.data.tags.get(REASON)) == (str(outcome.status), storable(outcome.reason))

    def made(self, trial: str) -> set[str]:
        """Which of REPORT and MODEL the trial's run had, or could not get, when the launch was opened."""
        run = self.find(trial)
        return {REPORT, MODEL} & run.data.tags.keys() if run is not None else set()

    def create(self, trial: str, began: float | None = None) -> "Run":
        """A new run for ``trial``, with its tags; :meth:`describe` gives it the rest.

        ``began``: when the trial did, in seconds since 1970; by default now.
        """
        spec = self.spec(trial)
        spec_hash = spec.identity()
        tags = {
            PARENT: self.parent_run_id,
            KIND: "trial",
            TRIAL: spec.name,
            PLACE: self.plan.place(spec),
            **({STAGE: spec.stage} if spec.stage else {}),
            VARIANT: spec.label,
            SEED: str(spec.seed),
            SPEC_HASH: spec_hash,
            PROTOCOL: spec.trainer.protocol,
            **(in_parts(SETTINGS, json.dumps(spec.settings)) if spec.settings else {}),
            **self.tags,
            **self.facts.get(trial, TrialFacts()).tags,
        }
        self._asked_for.add(trial)  # without an answer it may have been created anyway
        name, start = storable(spec.name, LONGEST_RUN_NAME), None if began is None else int(1000 * began)
        run = self.client.create_run(self.experiment_id, start, shorten(tags), name)
        self._asked_for.remove(trial)
        self.recorded[spec_hash] = run
        return run

    def describe(self, trial: str, run: "Run") -> None:
        """Write params, dataset and known metrics, unless ``run`` has them all; the note is written last."""
        from mlflow.entities import Dataset as MlflowDataset
        from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag

        if NOTE in run.data.tags:
            return
        run_id, spec, d = run.info.run_id, self.spec(trial), self.dataset
        data = MlflowDataset(storable(d.name, LONGEST_DATASET), d.digest[:36], "local", d.source, profile=d.profile)
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        begun = run.info.start_time  # the same for every attempt: nothing is written twice
        known = self.facts.get(trial, TrialFacts()).metrics
        metrics = [Metric(escape_metric(name), value, begun, 0) for name, value in known.items()]
        position = [variant.label for variant in self.plan.experiment.variants].index(spec.label)
        tags = [
            RunTag("mlflow.runColor", saved_view.color(position)),
            RunTag(NOTE, "The link to the report appears here when it has been made."),
        ]
        params = [Param(name, value) for name, value in params_of(spec).items()]
        while len(params) > MOST_PARAMS:
            self.client.log_batch(run_id, params=params[:MOST_PARAMS])
            params = params[MOST_PARAMS:]
        self.client.log_batch(run_id, metrics, params, tags)


def trials_of(client: "MlflowClient", experiment_id: str, parent_run_id: str) -> "list[Run]":
    """One run for each trial of a launch, in the order in which they started.

    A trial has several if its run was deleted, recorded again and restored: the one that counts is one that says how
    the trial ended, and of several the newest.
    """
    found: dict[str, Run] = {}
    for run in sorted(children(client, experiment_id, parent_run_id), key=_has_ended):  # stable: the newest is the last
        found[run.data.tags.get(SPEC_HASH, run.info.run_id)] = run
    return sorted(found.values(), key=lambda run: run.info.start_time)


def _has_ended(run: "Run") -> bool:
    """Whether the run says how its trial ended; an interrupted one has not."""
    return run.data.tags.get(STATUS) in (Status.COMPLETE, Status.STOPPED, Status.FAILED)


def children(client: "MlflowClient", experiment_id: str, parent_run_id: str) -> "list[Run]":
    """Every run of a launch's trials, page by page, in the order in which they started.

    Runs that other tools have nested under the launch's own are not among them.
    """
    mine, oldest_first = f"tags.`{PARENT}` = '{parent_run_id}' and {TRIALS}", ["attributes.start_time ASC"]
    runs: list[Run] = []
    token = None
    while True:
        found = client.search_runs([experiment_id], mine, max_results=PAGE, order_by=oldest_first, page_token=token)
        runs.extend(found)
        if not (token := found.token):
            return runs


def end(client: "MlflowClient", run: "Run", status: str) -> None:
    """End a run whose driver is lost: when the last epoch was recorded in it, or without one now."""
    history = client.get_metric_history(run.info.run_id, TRAIN_LOSS) if TRAIN_LOSS in run.data.metrics else []
    last = max((metric.timestamp for metric in history), default=None)
    client.set_terminated(run.info.run_id, status, None if last is None else max(last, run.info.start_time))


def join_plan(client: "MlflowClient", plan: Plan, spec: TrialSpec, run: "Run") -> None:
    """Say in the ``run`` of a trial that it is one of the ``plan``, and what it is there: name, draws, place, stage."""
    run_id, tags = run.info.run_id, run.data.tags
    if LEFT_OUT in tags:
        client.delete_tag(run_id, LEFT_OUT)
    if tags.get(TRIAL) != (name := storable(spec.name)):
        client.set_tag(run_id, TRIAL, name)
        client.update_run(run_id, name=storable(spec.name, LONGEST_RUN_NAME))
    if spec.settings and from_parts(tags, SETTINGS) != (drawn := json.dumps(spec.settings)):
        for part, text in shorten(in_parts(SETTINGS, drawn)).items():
            client.set_tag(run_id, part, text)
    if tags.get(PLACE) != (place := plan.place(spec)):
        client.set_tag(run_id, PLACE, place)
    if tags.get(STAGE, "") != spec.stage:  # an empty tag counts as none
        client.set_tag(run_id, STAGE, spec.stage)


def reopen(client: "MlflowClient", run_id: str) -> None:
    """Set a run that may have ended to RUNNING again, and remove how it ended."""
    client.update_run(run_id, "RUNNING")
    for name in {STATUS, REASON, FAILURE, STOPPED_EARLY} & client.get_run(run_id).data.tags.keys():
        client.delete_tag(run_id, name)
