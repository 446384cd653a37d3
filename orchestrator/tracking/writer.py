"""Write trials and launches to MLflow, one call at a time; repeating a failed call makes no duplicates."""

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import records as keys
from orchestrator.records import Outcome, Record, Status
from orchestrator.tracking.artifacts import REPORT_FILE, artifacts_of, log_folder, log_report, log_traceback
from orchestrator.tracking.models import MODEL_FILE, log_model
from orchestrator.tracking.names import escape_metric
from orchestrator.tracking.runs import LaunchRuns, end, join_plan, reopen
from orchestrator.tracking.tags import (
    CANNOT_BE_MADE,
    FAILURE,
    MADE,
    MODEL,
    NOTE,
    PLANNED,
    REASON,
    REJECTED,
    REPORT,
    SEARCHING,
    STATUS,
    STOPPED_EARLY,
    TARGET,
    shorten,
)
from orchestrator.tracking.transient import is_transient
from orchestrator.tracking.unpublished import MARKS, Published, batches, began, in_order, timestamp, without
from orchestrator.trial import TrialFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MLFLOW_STATUS = {
    Status.COMPLETE: "FINISHED",
    Status.STOPPED: "FINISHED",
    Status.INTERRUPTED: "KILLED",
    Status.FAILED: "FAILED",
}
REASON_REFUSED = "not all of it could be delivered; `orchestrator resume` delivers the rest"


class Writer:
    """Writes into the runs of one launch; every method raises what MLflow raises, and may be called again then."""

    def __init__(self, opening: "Future[LaunchRuns]") -> None:
        self.opening = opening
        self.run_ids: dict[str, str] = {}  # of the trials that this process has opened
        self._published: dict[str, Published] = {}
        self._described: set[str] = set()  # trials whose params the store has, or has refused
        self._reopened: set[str] = set()  # trials with runs that an earlier process, or a failed try, had made
        self._open: set[str] = set()  # trials of which it is not known yet how they end
        self._last: dict[str, float] = {}  # when the trial's last record was made

    @property
    def runs(self) -> LaunchRuns:
        """Where the launch is recorded; waits until the store has been opened, and raises what that raised."""
        return self.opening.result()

    def open(self, trial: str, began: float | None = None) -> None:
        """Create the trial's run, or find the existing one and set it to RUNNING again; describe the trial in it.

        ``began``: when a new run did, in seconds since 1970. A description that the store refuses is not tried again:
        records, files and how the trial ends are delivered without it.
        """
        if trial not in self.run_ids:
            self._find_or_create(trial, began)
        if trial in self._described:
            return
        run = self.runs.find(trial)
        assert run is not None
        try:
            self.runs.describe(trial, run)
        except Exception as problem:
            if not is_transient(problem):
                self._described.add(trial)
            raise
        self._described.add(trial)

    def _find_or_create(self, trial: str, began: float | None) -> None:
        run = self.runs.find(trial)
        if run is None:
            run, published = self.runs.create(trial, began), {}
        else:
            client, run_id = self.runs.client, run.info.run_id
            history = ((name, m) for name in MARKS for m in client.get_metric_history(run_id, name))
            published = {(name, m.step): (m.value, m.timestamp) for name, m in in_order(history)}
            reopen(client, run_id)
            # It may have become known since the launch was opened, which then marked its run as one left out.
            join_plan(client, self.runs.plan, self.runs.spec(trial), client.get_run(run_id))
            self._reopened.add(trial)
        self.run_ids[trial], self._published[trial] = str(run.info.run_id), published
        self._open.add(trial)

    def publish(self, trial: str, records: list[Record]) -> None:
        """Publish those of ``records`` that are not published yet: epochs, the chosen epoch and its evaluation.

        What was published with other values, as the trial has been trained anew, is published again as the latest.
        """
        from mlflow.entities import Metric

        self.open(trial, began(records))
        self._last[trial] = max(self._last.get(trial, 0.0), *(record.time for record in records))
        published = self._published[trial]
        fresh = [f for r in records if (f := without(r, published)).metrics]
        for part in batches(fresh):
            metrics = [
                Metric(escape_metric(name), value, timestamp(record, published), record.epoch)
                for record in part
                for name, value in record.metrics.items()
            ]
            self.runs.client.log_batch(self.run_ids[trial], metrics)
            for r in part:
                when = timestamp(r, published)
                published.update({(name, r.epoch): (value, when) for name, value in r.metrics.items()})

    def send(self, outcome: Outcome) -> None:
        """Send all files of a trial."""
        self.open(outcome.trial)
        run = self.runs.find(outcome.trial)
        assert run is not None
        if outcome.folder is not None:
            log_folder(artifacts_of(self.runs.client, run), outcome.folder)
        if outcome.traceback or outcome.trial in self._reopened:
            log_traceback(self.runs.client, run, outcome.traceback)

    def send_report(self, trial: str, folder: Path, report: bool, model: bool) -> None:
        """Tags are written last, when what they state is there. A run that an earlier process ended stays ended."""
        from mlflow.entities import RunTag

        if (run := self.runs.find(trial)) is None:
            self.open(trial)
            run = self.runs.find(trial)
        assert run is not None
        run_id, client = str(run.info.run_id), self.runs.client
        tags: dict[str, str] = {}
        if report and (folder / REPORT_FILE).is_file():
            publish_report(client, run, folder)
        elif report:
            tags[REPORT] = CANNOT_BE_MADE
        if model and (folder / MODEL / MODEL_FILE).is_file():
            log_model(client, run_id, folder / MODEL)
            tags[MODEL] = MADE
        elif model:
            tags[MODEL] = CANNOT_BE_MADE
        if tags:
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def summarize(self, outcome: Outcome) -> None:
        """The summary of the trial's records, and the machine that it ran on."""
        from mlflow.entities import Metric, RunTag

        if outcome.folder is None:
            return
        self.open(outcome.trial)
        records = TrialFolder(outcome.folder).records()
        target = self.runs.plan.experiment.target_accuracy
        summary = keys.summary(records, target) if records else {}
        metrics = [
            Metric(name, value, int(records[-1].time * 1000), records[-1].epoch)  # the same when it is written again
            for name, value in summary.items()
        ]
        machine = shorten(TrialFolder(outcome.folder).facts().get("machine", {}))
        tags = [RunTag(name, value) for name, value in machine.items()]
        tags.append(RunTag(TARGET, self._counted_to(outcome.trial, target, summary.get(keys.EPOCHS_TO_TARGET))))
        self.runs.client.log_batch(self.run_ids[outcome.trial], metrics, tags=tags)

    def _counted_to(self, trial: str, target: float, count: float | None) -> str:
        """The target of the count that the run shows when ``count`` is written; "": not known, as it had another one.

        Of two that were recorded at the same time, MLflow shows the larger one, and it removes none.
        """
        run = self.runs.find(trial)
        before = None if run is None else run.data.metrics.get(keys.EPOCHS_TO_TARGET)
        return str(target) if before in (None, count) else ""

    def finish(self, outcome: Outcome, refused: bool) -> None:
        """Record how a trial ended. If something was ``refused``, the reason says so, and resuming redelivers it."""
        from mlflow.entities import RunTag

        self.open(outcome.trial)
        self._open.discard(outcome.trial)
        reason = "; ".join(filter(None, (outcome.reason, REASON_REFUSED if refused else "")))
        kind = {FAILURE: str(outcome.failure)} if outcome.failure else {}
        early = {STOPPED_EARLY: "true"} if outcome.status is Status.STOPPED else {}
        tags = shorten({STATUS: str(outcome.status), REASON: reason, **kind, **early})
        self.runs.client.log_batch(self.run_ids[outcome.trial], tags=[RunTag(*pair) for pair in tags.items()])

    def terminate(self, outcome: Outcome, heard: float) -> None:
        """End the trial's run, which is written last: when its last record was made, or without one at ``heard``."""
        self.open(outcome.trial)
        run = self.runs.find(outcome.trial)
        assert run is not None
        ended = max(int(1000 * self._last.get(outcome.trial, heard)), run.info.start_time)  # clocks may differ
        self.runs.client.set_terminated(run.info.run_id, MLFLOW_STATUS[outcome.status], ended)

    def count_planned(self) -> None:
        """Record how many trials the plan has, how many draws were replaced, and last whether the search goes on."""
        runs = self.runs
        runs.client.set_tag(runs.parent_run_id, PLANNED, str(len(runs.plan.trials)))
        runs.client.set_tag(runs.parent_run_id, REJECTED, str(runs.plan.rejected_samples))
        runs.client.set_tag(runs.parent_run_id, SEARCHING, str(runs.plan.searching).lower())

    def end_launch(self, status: Status, reason: str) -> None:
        """Record how the launch ended, in its own run, and before that in those of trials that it left open."""
        client, parent = self.runs.client, self.runs.parent_run_id
        for trial in sorted(self._open):
            if (run := self.runs.find(trial)) is not None:
                client.set_tag(run.info.run_id, STATUS, str(Status.INTERRUPTED))
                end(client, run, MLFLOW_STATUS[Status.INTERRUPTED])
            self._open.discard(trial)
        client.set_tag(parent, STATUS, str(status))
        client.set_tag(parent, REASON, reason)
        client.set_terminated(parent, MLFLOW_STATUS[status])


def publish_report(client: "MlflowClient", run: "Run", folder: Path) -> None:
    """Send the report in a trial folder, and say in its ``run`` that it is there; a second time replaces it."""
    from mlflow.entities import RunTag

    run = client.get_run(run.info.run_id)  # no lease has kept its address since it was read
    log_report(artifacts_of(client, run), folder)
    run_id = str(run.info.run_id)
    link = f"#/experiments/{run.info.experiment_id}/runs/{run_id}/artifacts/{REPORT_FILE}"
    note = f"[**Open the report**]({link}): figures and tables on one page."
    client.log_batch(run_id, tags=[RunTag(REPORT, MADE), RunTag(NOTE, note)])
