"""One launch, composed: check, plan, Ray, sink, live view, verdict. Used by ``run`` and ``resume``."""

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.cli.checking import Checked, check_experiment
from orchestrator.cli.facts import dataset_facts, software_tags, trial_facts
from orchestrator.cli.reports import Reporter
from orchestrator.cli.result import print_result, read_result
from orchestrator.errors import InterruptedLaunchError
from orchestrator.records import INTERRUPTED, Outcome, Status
from orchestrator.reporting.terminal import View
from orchestrator.scheduling import Launch, ray_session, run_launch
from orchestrator.scheduling.budget import Budget, check_free_space
from orchestrator.scheduling.launch import checkpoints
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.scheduling.storage import LaunchFolder, open_launch_folder
from orchestrator.spec import Experiment
from orchestrator.tracking.runs import LaunchRuns, open_launch
from orchestrator.tracking.sink import Prepare, Sink
from orchestrator.tracking.store import asked, connect, without_secrets
from orchestrator.tracking.store import tracking_uri as choose_store
from orchestrator.trial import TrialFolder


@dataclass(frozen=True)
class Show:
    """How a command talks to its user."""

    console: Console
    quiet: bool
    debug: bool

    def say(self, line: str) -> None:
        """One line, as it is."""
        if not self.quiet:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def launch(
    experiment: Experiment,
    *,
    data_dir: Path,
    storage: Path,
    tracking_uri: str | None,
    address: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    again: bool = False,
    folder: LaunchFolder | None = None,
) -> int:
    """Run ``experiment`` to its verdict and print it; returns the exit code.

    ``folder`` is the launch to carry on; without it, the one that this very plan was begun in, or a new one.
    """
    show = Show(Console(file=sys.stderr if as_json else sys.stdout), quiet, debug)
    checked = check_experiment(experiment, data_dir, show.say)
    uri = choose_store(tracking_uri)
    client = connect(uri)
    folder = folder or open_launch_folder(storage, checked.plan, again)
    where = "" if tracking_uri is None else f" --tracking-uri {shlex.quote(without_secrets(tracking_uri))}"
    resume = f"orchestrator resume {experiment.name} --storage {shlex.quote(str(storage))}{where}"
    show.say(f"experiment {experiment.name}, launch {folder.name}; to carry on if interrupted: {resume}")
    folder.check_plan(checked.plan)
    with folder.locked():
        with asked(uri):
            runs = open_launch(
                client,
                uri,
                folder.name,
                checked.plan,
                dataset_facts(checked.dataset, experiment.dataset.name),
                trial_facts(checked),
                software_tags(Path.cwd()),
            )
        status = _train(checked, folder, runs, address, show)
    with asked(uri):
        result = read_result(client, experiment.name, folder.name)
    print_result(result, as_json)
    show.say(f"trial folders: {folder.path / 'trials'}")
    show.say(f"runs: orchestrator ui{where}    again: orchestrator compare {experiment.name}{where}")
    if status is Status.STOPPED:
        raise InterruptedLaunchError(f"interrupted; carry on with: {resume}")
    return 1 if status is Status.FAILED or any(trial.status == "failed" for trial in result.trials) else 0


def _train(checked: Checked, folder: LaunchFolder, sink_runs: LaunchRuns, address: str | None, show: Show) -> Status:
    """Run what is not finished, tell MLflow and the screen, and say how the launch as a whole ended."""
    plan = checked.plan
    finished = folder.finished(plan)
    resume_from = {k: v for k, v in checkpoints(folder.path, plan).items() if k not in finished}
    budget = Budget(plan, plan.experiment.max_checkpoint_bytes)
    sink = Sink(sink_runs, _with_budget(Reporter(checked, show.say), budget))
    for name in finished:
        outcome = TrialFolder(folder.trial(name)).outcome()
        if outcome is not None and not sink_runs.is_delivered(outcome):
            sink.catch_up(name, TrialFolder(folder.trial(name)).records())
            sink.on_end(outcome)
    for name, path in resume_from.items():
        sink.catch_up(name, TrialFolder(path).records())
    status = Status.STOPPED
    try:
        outcomes = {}
        if len(finished) < len(plan.trials):
            with ray_session(address, debug=show.debug) as nodes, View(plan, show.console, show.quiet) as view:
                resources = trial_resources(plan.experiment.resources, nodes)
                side_by_side = slots(resources, nodes, plan.experiment.resources.max_concurrent_trials)
                show.say(f"{len(plan.trials) - len(finished)} trials, {side_by_side} side by side; {folder.path}")
                waiting = {n: a.parameters for n, a in checked.analyses.items() if n not in finished}
                check_free_space(folder.path, waiting, side_by_side, budget.limit)
                outcomes = run_launch(
                    Launch(
                        plan,
                        checked.dataset,
                        folder.path,
                        resources,
                        nodes=nodes,
                        listeners=(sink, view),
                        finished=frozenset(finished),
                        resume_from=resume_from,
                    ),
                    show.say,
                )
        status = overall(outcomes.values())
    finally:
        sink.close(status)
    for name in budget.keep():
        show.say(f"{name}: checkpoints removed to stay within max_checkpoint_bytes")
    return status


def _with_budget(report: Reporter, budget: Budget) -> Prepare:
    """Make a trial's report; what an earlier trial left has been delivered by then, and may be pruned."""
    ended: list[Outcome] = []

    def prepare(outcome: Outcome) -> None:
        for delivered in ended:
            budget.add(delivered)
        budget.keep()
        ended[:] = [outcome]
        report(outcome)

    return prepare


def overall(outcomes: Iterable[Outcome]) -> Status:
    """Interrupted if a trial was; else failed if one failed; else complete."""
    ended = list(outcomes)
    if any(o.status is Status.STOPPED and o.reason == INTERRUPTED for o in ended):
        return Status.STOPPED
    return Status.FAILED if any(o.status is Status.FAILED for o in ended) else Status.COMPLETE
