"""One launch, composed: check, plan, Ray, sink, live view, verdict. Used by ``run`` and ``resume``."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.cli.checking import Checked, check_experiment
from orchestrator.cli.facts import dataset_facts, software_tags, trial_facts
from orchestrator.cli.reports import Reporter
from orchestrator.cli.result import print_result, publish_result, read_result
from orchestrator.cluster.events import EventWriter
from orchestrator.errors import DataError, InterruptedLaunchError
from orchestrator.records import INTERRUPTED, Outcome, Status
from orchestrator.reporting.terminal import View
from orchestrator.scheduling import Launch, ray_session, run_launch
from orchestrator.scheduling.budget import Budget, check_free_space
from orchestrator.scheduling.launch import checkpoints
from orchestrator.scheduling.mirror import Storage
from orchestrator.scheduling.nodes import wait_for_nodes
from orchestrator.scheduling.preflight import check_nodes
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.scheduling.session import check_address
from orchestrator.scheduling.storage import LaunchFolder, fetch_launches, open_launch_folder
from orchestrator.spec import Experiment
from orchestrator.spec.plain import one_line
from orchestrator.tracking.runs import LaunchRuns, open_launch
from orchestrator.tracking.sink import Prepare, Sink
from orchestrator.tracking.store import asked, check_artifact_store, connect, sqlite_file, without_secrets
from orchestrator.tracking.store import tracking_uri as choose_store
from orchestrator.trial import TrialFolder


@dataclass(frozen=True)
class Show:
    """How a command talks to its user."""

    console: Console
    quiet: bool
    debug: bool
    events: EventWriter | None = None  # for those who follow this process from elsewhere

    def say(self, line: str) -> None:
        """One line, as it is."""
        if not self.quiet:
            self.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def launch(
    experiment: Experiment,
    *,
    data_dir: Path,
    storage: Storage,
    tracking_uri: str | None,
    address: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    again: bool = False,
    folder: LaunchFolder | None = None,
    events: bool = False,
) -> int:
    """Run ``experiment`` to its verdict and print it; returns the exit code.

    ``folder`` is the launch to carry on; without it, the one that this very plan was begun in, or a new one.
    """
    show = Show(Console(file=sys.stderr if as_json else sys.stdout), quiet, debug, EventWriter() if events else None)
    if address is not None:
        check_address(address)
    checked = _check(experiment, data_dir, address, show)
    uri = choose_store(tracking_uri)
    client = connect(uri)
    if folder is None:
        fetch_launches(storage, experiment.name)
        folder = open_launch_folder(storage.root, checked.plan, again)
    storage.fetch(folder.path)
    storage.push(folder.path / "launch.json")
    join = "" if address is None else f" --address {shlex.quote(address)}"
    where = "" if tracking_uri is None else f" --tracking-uri {shlex.quote(without_secrets(tracking_uri))}"
    resume = f"orchestrator resume {experiment.name} --storage {shlex.quote(str(storage))}{where}{join}"
    if events:
        resume = "orchestrator submit, as before"
    show.say(f"experiment {experiment.name}, launch {folder.name}; to carry on if interrupted: {resume}")
    folder.check_plan(checked.plan)
    with folder.locked(), ExitStack() as after_ray, _nodes(checked, folder, storage, address, show) as nodes:
        with asked(uri):
            runs = open_launch(
                client,
                uri,
                folder.name,
                checked.plan,
                dataset_facts(checked.dataset, experiment.dataset.name),
                trial_facts(checked),
                software_tags(Path.cwd()),
                _artifacts(uri, storage, experiment.name, shared=address is not None),
                folder.id,
            )
        status = _train(checked, folder, storage, runs, nodes, show, after_ray)
    with asked(uri):
        result = read_result(client, experiment.name, runs.launch)
    try:
        publish_result(client, result)
    except Exception as problem:  # whatever MLflow's artifact store raises: the trials are recorded all the same
        show.say(f"the comparison is not in MLflow: {one_line(str(problem))}")
    if show.events is not None:
        show.events.result(result.to_json())
    print_result(result, as_json)
    show.say(f"trial folders: {storage.place(folder.path / 'trials')}")
    on = " (on the head)" if events else ""
    compare = f"orchestrator compare {experiment.name} --launch {result.launch}"  # it need not be the newest
    show.say(f"runs: orchestrator ui{where}    again: {compare}{where}{on}")
    if status is Status.STOPPED:
        raise InterruptedLaunchError(f"interrupted; carry on with: {resume}")
    return 1 if status is Status.FAILED or any(trial.status == "failed" for trial in result.trials) else 0


def _check(experiment: Experiment, data_dir: Path, address: str | None, show: Show) -> Checked:
    try:
        return check_experiment(experiment, data_dir, show.say)
    except DataError as problem:
        if address is None:
            raise
        raise DataError(
            f"{problem}\non a cluster only this process reads data (Ray brings it to the nodes): it must lie on the "
            "machine where it runs, the head; see --data-dir and ORCHESTRATOR_DATA_DIR"
        ) from problem


def _artifacts(uri: str, storage: Storage, name: str, shared: bool) -> str | None:
    """Where MLflow keeps a new experiment's artifacts: where a server says, beside a SQLite file, or in the storage."""
    if uri.startswith(("http://", "https://")) or (sqlite_file(uri) and not shared and storage.uri is None):
        return None
    place = storage.address(storage.root / ".artifacts" / name)
    check_artifact_store(place)
    return place if "://" in place else Path(place).as_uri()


@contextmanager
def _nodes(
    checked: Checked, folder: LaunchFolder, storage: Storage, address: str | None, show: Show
) -> Iterator[list[dict[str, float]]]:
    """Ray, with nodes that can train what is left to train; none if nothing is. Raises before anything is recorded."""
    plan = checked.plan
    finished = folder.finished(plan)
    if len(finished) == len(plan.trials):
        yield []
        return
    with ray_session(address, debug=show.debug) as nodes:
        if address is not None:
            nodes = wait_for_nodes(plan.experiment.resources, show.say)
            looked = check_nodes(folder.path, storage, plan)
            nodes_can = "1 node can" if looked == 1 else f"{looked} nodes can"
            show.say(f"{nodes_can} use the storage and have the same versions")
        resources = trial_resources(plan.experiment.resources, nodes)
        side_by_side = slots(resources, nodes, plan.experiment.resources.max_concurrent_trials)
        place = storage.place(folder.path)
        show.say(f"{len(plan.trials) - len(finished)} trials, {side_by_side} side by side; {place}")
        waiting = {name: a.parameters for name, a in checked.analyses.items() if name not in finished}
        check_free_space(folder.path, waiting, side_by_side, plan.experiment.max_checkpoint_bytes)
        yield nodes


def _train(
    checked: Checked,
    folder: LaunchFolder,
    storage: Storage,
    sink_runs: LaunchRuns,
    nodes: Sequence[dict[str, float]],
    show: Show,
    after_ray: ExitStack,
) -> Status:
    """Run what is not finished, tell MLflow and the screen, and say how the launch as a whole ended.

    What MLflow has not been told by then it is told in ``after_ray``: Ray ends meanwhile, and its cores are free.
    """
    plan = checked.plan
    finished = folder.finished(plan)
    resume_from = {k: v for k, v in checkpoints(folder.path, plan).items() if k not in finished}
    before = [o for name in finished if (o := TrialFolder(folder.trial(name)).outcome()) is not None]
    undelivered = [outcome for outcome in before if not sink_runs.is_delivered(outcome)]
    budget = Budget(plan, plan.experiment.max_checkpoint_bytes, storage.remove)
    for outcome in before:
        if outcome not in undelivered:
            budget.add(outcome)
    ended: list[Outcome] = []
    sink = Sink(sink_runs, _with_budget(Reporter(checked, show.say), budget, storage, ended))
    for outcome in undelivered:
        sink.catch_up(outcome.trial, TrialFolder(folder.trial(outcome.trial)).records())
        sink.on_end(outcome)
    for name, path in resume_from.items():
        sink.catch_up(name, TrialFolder(path).records())
    status = Status.STOPPED

    def close() -> None:
        sink.close(status)
        for outcome in ended:
            budget.add(outcome)
        for name in budget.keep():
            show.say(f"{name}: checkpoints removed to stay within max_checkpoint_bytes")

    after_ray.callback(close)
    outcomes = {}
    if nodes:
        trials, epochs = [spec.name for spec in plan.trials], plan.experiment.trainer.epochs
        if show.events is not None:
            show.events.begin(trials, epochs, before)
        with View(trials, epochs, show.console, show.quiet, before) as view:
            outcomes = run_launch(
                Launch(
                    plan,
                    checked.dataset,
                    folder.path,
                    trial_resources(plan.experiment.resources, nodes),
                    nodes=nodes,
                    storage=storage,
                    listeners=(sink, view) if show.events is None else (sink, view, show.events),
                    finished=frozenset(finished),
                    resume_from=resume_from,
                ),
                show.say,
            )
    status = overall(outcomes.values())
    return status


def _with_budget(report: Reporter, budget: Budget, storage: Storage, ended: list[Outcome]) -> Prepare:
    """Make a trial's report; what an earlier trial left has been delivered by then, and may be pruned.

    The last one of all stays in ``ended``.
    """

    def prepare(outcome: Outcome) -> None:
        for delivered in ended:
            budget.add(delivered)
        budget.keep()
        ended[:] = [outcome]
        report(outcome)
        if outcome.folder is not None:
            storage.push(outcome.folder)

    return prepare


def overall(outcomes: Iterable[Outcome]) -> Status:
    """Interrupted if a trial was; else failed if one failed; else complete."""
    ended = list(outcomes)
    if any(o.status is Status.STOPPED and o.reason == INTERRUPTED for o in ended):
        return Status.STOPPED
    return Status.FAILED if any(o.status is Status.FAILED for o in ended) else Status.COMPLETE
