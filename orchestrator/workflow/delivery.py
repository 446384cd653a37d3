"""Deliver trials to MLflow: records and outcomes at once, reports and models when they have been made."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.records import SEARCH, Outcome, Record, Status, TrialRow
from orchestrator.reporting.published import read_curve
from orchestrator.scheduling.checkpoint_budget import CheckpointBudget
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.storage import Storage
from orchestrator.selection import chosen_trials, representative
from orchestrator.spec.json_values import one_line
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.tags import MODEL, REPORT
from orchestrator.trial import TrialFolder
from orchestrator.trial.folder import CHECKPOINTS
from orchestrator.workflow.check import Checked
from orchestrator.workflow.make_report import Order
from orchestrator.workflow.report_queue import Reporter


class Delivery:
    """A listener that records a launch in MLflow, and lets ``executor`` make reports and models while trials train."""

    def __init__(
        self,
        checked: Checked,
        folder: LaunchFolder,
        storage: Storage,
        runs: "Future[LaunchRuns]",
        executor: Executor,
        dataset_ref: Any,
        log: Callable[[str], None],
    ) -> None:
        self.checked, self.folder, self.storage, self.log = checked, folder, storage, log
        experiment = checked.plan.experiment
        self.wanted = experiment.tracking
        self.search = experiment.search is not None
        self.published = read_curve(Path(experiment.published_curve)) if experiment.published_curve else []
        self.sink = Sink(runs)
        self.reporter = Reporter(executor, dataset_ref, self._deliver, log)
        self.budget = CheckpointBudget(checked.plan, experiment.max_checkpoint_bytes, storage)
        self.ordered: set[tuple[str, str]] = set()  # trial and part of it, in this process
        self.waiting: set[tuple[str, str]] = set()  # those that are not made yet: they need the trial's weights

    def on_plan(self, trials: Sequence[str]) -> None:
        """Listener: the plan has grown."""
        self.sink.on_plan(trials)

    def on_start(self, trial: str, epoch: int = 1) -> None:
        """Listener: the trial has begun."""
        self.sink.on_start(trial, epoch)

    def on_record(self, trial: str, record: Record) -> None:
        """Listener: an epoch is done."""
        self.sink.on_record(trial, record)

    def on_end(self, outcome: Outcome) -> None:
        """Listener: the trial has ended; it is recorded at once, its report is made when a core is free."""
        self.sink.on_end(outcome)
        if outcome.folder is not None and outcome.status is not Status.INTERRUPTED:
            self._order_at_once(outcome)
            self.sink.then(outcome.trial, partial(self._spend, outcome))

    def catch_up(self, finished: Mapping[str, Status], resume_from: Mapping[str, Path]) -> list[Outcome]:
        """Record and order what an earlier process did not; returns the outcomes it had."""
        for name in finished:  # what is made of them needs their networks where these lie today
            if (trial := TrialFolder(self.folder.trial(name))).renew(self.checked.plan.spec(name)):
                self.storage.push(trial.path / "spec.json")
        before = [o for name in finished if (o := TrialFolder(self.folder.trial(name)).outcome()) is not None]
        for outcome in before:
            if self.sink.runs.is_delivered(outcome, TrialFolder(self.folder.trial(outcome.trial)).is_measured()):
                self.ordered |= {(outcome.trial, what) for what in self.sink.runs.made(outcome.trial)}
                self._order_at_once(outcome)
                self.budget.add(outcome)
            else:
                self.publish(outcome.trial)
                self.on_end(outcome)
        if self.wanted.reports != "none" and not self.search:  # needed later, and workers are still starting
            for spec in self.checked.plan.trials:
                if spec.name not in finished:
                    self.reporter.prepare(spec, self.checked.analyses[spec.name])
        for name, path in resume_from.items():
            self.sink.catch_up(name, TrialFolder(path).records())
        return before

    def publish(self, trial: str) -> None:
        """Record what another process, or another launch, has left of a trial that has ended."""
        self.storage.fetch(folder := self.folder.trial(trial))
        self.sink.catch_up(trial, TrialFolder(folder).records())

    def order_chosen(self, trials: Sequence[TrialRow]) -> None:
        """Order what depends on all results: in a search the reports of compared trials, and each variant's model."""
        for trial in trials if self.search else ():
            report = self.wanted.reports == "all" and (self.folder.trial(trial.trial) / "spec.json").exists()
            self._order(trial.trial, report, model=trial.status == "complete" and self.wanted.models == "all")
        for compared in chosen_trials(trials).values():
            best = representative(compared) if self.wanted.models == "best" else None
            for trial in compared:
                report = self.wanted.reports == "chosen" and trial.status == "complete"
                self._order(trial.trial, report=report, model=best is not None and trial.trial == best.trial)

    def refused(self) -> bool:
        """Whether MLflow's store could not be opened."""
        return self.sink.refused()

    def flush(self) -> bool:
        """Wait until MLflow has everything so far; False if it does not answer."""
        return self.sink.flush()

    def finish_reports(self, progress: Callable[[str], None]) -> bool:
        """Wait for all orders; returns whether all were made. ``progress`` is called with the state."""
        if whole := self.reporter.wait(progress):
            return whole
        self.log("some reports are missing; run the same command again to make them")
        return False

    def close(self, status: Status) -> None:
        """Deliver the rest and end the launch's own run. Raises TrackingError that names what was not delivered."""
        self.sink.close(status)
        for name in self.budget.keep(self._needed()):
            self.log(f"{name}: checkpoints removed to stay within max_checkpoint_bytes")

    def _order_at_once(self, outcome: Outcome) -> None:
        """What is made as soon as a trial has ended; of a search, when the chosen trials have been evaluated."""
        if self.checked.plan.spec(outcome.trial).stage != SEARCH:
            complete = outcome.status is Status.COMPLETE
            self._order(
                outcome.trial, report=self.wanted.reports != "none", model=complete and self.wanted.models == "all"
            )

    def _order(self, trial: str, report: bool, model: bool) -> None:
        """Order what is needed and has not been ordered or made before."""
        asked = {(trial, what) for what, wanted in ((REPORT, report), (MODEL, model)) if wanted} - self.ordered
        if not asked:
            return
        self.ordered |= asked
        self.waiting |= asked
        folder = self.folder.trial(trial)
        order = Order(
            trial,
            folder if self.storage.uri else folder.resolve(),  # workers run in other folders
            self.checked.analyses[trial],
            report=(trial, REPORT) in asked,
            model=(trial, MODEL) in asked,
            storage=self.storage,
            published=self.published,
        )
        self.reporter.order(order, self.checked.plan.spec(trial))

    def _deliver(self, order: Order, _reported: bool) -> None:
        """What was made is in the trial's folder in the storage; deliver it to MLflow from there."""
        self.storage.fetch(order.folder, lambda name: not name.startswith(f"{CHECKPOINTS}/"))
        self.sink.on_report(order.trial, order.folder, order.report, order.model)
        self.sink.then(order.trial, partial(self._spend_after, order))

    def _needed(self) -> set[str]:
        """The trials of which something is to be made yet."""
        return {trial for trial, _ in self.waiting.copy()}  # another thread may add to it

    def _spend_after(self, order: Order) -> None:
        """What was ordered is in MLflow."""
        self.waiting -= {
            (order.trial, what) for what, wanted in ((REPORT, order.report), (MODEL, order.model)) if wanted
        }
        self._spend()

    def _spend(self, outcome: Outcome | None = None) -> None:
        """The trial's outcome is in MLflow: its checkpoints may be deleted once what was ordered of it is made."""
        try:
            if outcome is not None:
                self.budget.add(outcome)
            self.budget.keep(self._needed())
        except OrchestratorError as problem:
            self.log(one_line(str(problem)))
