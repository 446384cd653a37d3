"""One launch, top to bottom: check, plan, open the folder and the store, wait for Ray, train, read back."""

import importlib
import shlex
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.checks import check_nodes
from orchestrator.data.arrays import to_arrays
from orchestrator.errors import DataError, InterruptedLaunchError
from orchestrator.experiment.stages import to_come
from orchestrator.records import Status
from orchestrator.redact import redact
from orchestrator.reporting.comparison.spending import Share
from orchestrator.scheduling.checkpoint_budget import check_free_space
from orchestrator.scheduling.gpu_sharing import Work, trials_per_gpu, useful
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.nodes import wait_for_nodes
from orchestrator.scheduling.ray_executor import RayExecutor, core_count
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.scheduling.session import BackgroundRay
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment
from orchestrator.spec.json_values import one_line
from orchestrator.text import counted
from orchestrator.tracking.lease import owner
from orchestrator.tracking.open_launch import open_launch, put_command, put_share
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.store import absolute_uri, asked, check_artifact_store, connect, sqlite_file
from orchestrator.tracking.store import tracking_uri as choose_store
from orchestrator.workflow.amend import amend, open_folder
from orchestrator.workflow.check import Checked, check_experiment
from orchestrator.workflow.commands import ExperimentSource, amending_command, resume_command
from orchestrator.workflow.comparison_page import publish_comparison
from orchestrator.workflow.completed_launch import fingerprint, mark_complete
from orchestrator.workflow.delivery import Delivery
from orchestrator.workflow.display import Display
from orchestrator.workflow.facts import dataset_facts, run_tags
from orchestrator.workflow.growth import Growth
from orchestrator.workflow.launch_metrics import launch_metrics
from orchestrator.workflow.results import Results, read_launch
from orchestrator.workflow.train_all import train_all

if TYPE_CHECKING:
    from mlflow import MlflowClient


def launch(
    experiment: Experiment,
    *,
    data_dir: Path,
    storage: Storage,
    tracking_uri: str | None,
    address: str | None,
    display: Display,
    ray: BackgroundRay,
    starting_executor: "Future[RayExecutor]",
    again: bool = False,
    folder: LaunchFolder | None = None,
    source: ExperimentSource | None = None,
    as_job: bool = False,
    away: bool = False,
) -> Results:
    """Run ``experiment``, read from ``source``, to its verdict.

    ``folder`` is the launch to resume; by default the newest launch of the same plan, or a new one. ``ray`` is
    starting, and with it the executor that makes reports; it is stopping when this returns. ``away``: whoever reads the
    commands that are printed is in another folder than the working directory. Raises a RequestError if
    the experiment cannot be run, and InterruptedLaunchError if it was interrupted; it can then be resumed.
    """
    begun = time.monotonic()
    uri = choose_store(tracking_uri)
    mark = fingerprint(experiment, data_dir, uri)  # before anything is read, so that a later edit is noticed
    checked = _check(experiment, data_dir, address, display)
    threads = ThreadPoolExecutor(1, "store")
    connecting = threads.submit(connect, uri)  # while Ray starts
    importlib.import_module("orchestrator.scheduling.callback")  # Ray Tune, which the launch needs next
    directory = None if as_job else str(Path.cwd())  # a job's is removed when it ends
    folder, why = open_folder(experiment.name, checked.plan, storage, folder, again, directory)
    named = tracking_uri or (absolute_uri(uri) if away else None)
    where = "" if named is None else f" --tracking-uri {shlex.quote(redact(named))}"
    resume = resume_command(experiment.name, folder.name, data_dir, storage, named, address, as_job, again)
    amending = amending_command(source, data_dir, str(storage), tracking_uri, address, as_job)
    display.log(f"experiment {experiment.name}, launch {folder.name}; to resume if interrupted: {resume}")
    if why:
        display.log(why)
    folder.check_plan(checked.plan)
    with folder.locked():
        growth = amend(checked, folder, storage, display, directory, elsewhere=address is not None)
        nodes, resources = _nodes(checked, folder, storage, address, display, ray)
        growth.reserve(resources.get("GPU", 0.0))
        artifacts = _artifacts(uri, storage, experiment.name, shared=address is not None)
        share = Share.of(resources, experiment.resources.price_per_hour)
        # While the first workers start:
        opening = threads.submit(
            _open_runs, connecting, uri, folder, checked, growth, artifacts, source, as_job, amending, share
        )
        executor = starting_executor.result()
        executor.slots = core_count(nodes)  # nodes may have joined since it was started
        dataset_ref = executor.put(to_arrays(checked.dataset))
        delivery = Delivery(checked, folder, storage, opening, executor, dataset_ref, display.log)
        status, result, whole = Status.INTERRUPTED, None, False
        try:
            status = train_all(checked, growth, folder, storage, delivery, nodes, resources, dataset_ref, display)
            executor.raise_priority()
            if delivery.flush():
                runs = opening.result()
                with asked(uri):
                    result = read_launch(runs.client, runs.parent_run_id)
                metrics = launch_metrics(result, share, time.monotonic() - begun)
                display.result(result)
                whole = _publish(result, status, executor, dataset_ref, delivery, metrics, display)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        finally:
            executor.shutdown(wait=False)
            ray.end(wait=False)
            delivery.close(status)
        if result is not None and whole and status is Status.COMPLETE and result.complete:
            mark_complete(folder, storage, mark, result.launch)
    if result is not None:
        display.log(f"trial folders: {storage.place(folder.path / 'trials')}")
        on = " (on the head)" if as_job else ""
        name = shlex.quote(result.experiment)  # by now it may have another one in MLflow
        compare = f"orchestrator compare {name} --launch {result.launch}"  # it need not be the newest
        display.log(f"runs: orchestrator ui{where}    again: {compare}{where}{on}")
    if result is None or status is Status.INTERRUPTED:
        raise InterruptedLaunchError(f"interrupted; resume with: {resume}")
    return result


def _open_runs(
    connecting: "Future[MlflowClient]",
    uri: str,
    folder: LaunchFolder,
    checked: Checked,
    growth: Growth,
    artifacts: str | None,
    source: ExperimentSource | None,
    as_job: bool,
    amending: str,
    share: Share,
) -> LaunchRuns:
    """The launch in MLflow, when its store has been reached."""
    with asked(uri):
        runs = open_launch(
            connecting.result(),
            uri,
            folder.name,
            checked.plan,
            dataset_facts(checked.dataset, checked.plan.experiment.dataset),
            growth.facts,
            run_tags(None if source is None else source.file, as_job),
            artifacts,
            folder.id,
            folder.opened,
            owner(folder.path),
        )
        put_command(runs, amending)
        put_share(runs, asdict(share))
        return runs


def _publish(
    result: Results,
    status: Status,
    executor: RayExecutor,
    dataset_ref: Any,
    delivery: Delivery,
    metrics: Mapping[str, float],
    display: Display,
) -> bool:
    """The comparison into MLflow while the last reports are made; whether all of them are."""
    if status is not Status.INTERRUPTED:
        delivery.order_chosen(result.rows)
    try:
        publish_comparison(result, delivery.published, executor, dataset_ref, metrics, display.log)
    except Exception as problem:  # whatever MLflow's artifact store raises: the trials are recorded anyway
        display.log(f"the comparison could not be stored in MLflow: {one_line(str(problem))}")
    if status is Status.INTERRUPTED:
        return False
    with display.waiting("making reports") as progress:
        return delivery.finish_reports(progress)


def _check(experiment: Experiment, data_dir: Path, address: str | None, display: Display) -> Checked:
    try:
        return check_experiment(experiment, data_dir, display.log)
    except DataError as problem:
        if address is None:
            raise
        raise DataError(
            f"{problem}\non a cluster, only the driver reads data (Ray copies it to the nodes), so it must be on "
            "the head; see --data-dir and ORCHESTRATOR_DATA_DIR"
        ) from problem


def _artifacts(uri: str, storage: Storage, name: str, shared: bool) -> str | None:
    """Where MLflow keeps a new experiment's artifacts: its server's choice, beside a SQLite file, or in the storage."""
    if uri.startswith(("http://", "https://")) or (sqlite_file(uri) and not shared and storage.uri is None):
        return None
    place = storage.address(storage.root / ".artifacts" / name)
    check_artifact_store(place)
    return place if "://" in place else Path(place).as_uri()


def _nodes(
    checked: Checked, folder: LaunchFolder, storage: Storage, address: str | None, display: Display, ray: BackgroundRay
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Nodes that can train the remaining trials, and what each trial gets. Raises before anything is recorded."""
    plan = checked.plan
    with display.waiting("starting Ray" if address is None else f"joining the cluster at {address}"):
        nodes = ray.nodes()
    if address is not None:
        nodes = wait_for_nodes(plan.experiment.resources, display.log)
        looked = check_nodes(storage.address(folder.path), plan)
        have = "has" if looked == 1 else "have"
        display.log(f"{counted(looked, 'node')} can use the storage and {have} the same versions")
    finished = folder.finished(plan)
    work = _work(checked, finished)
    with display.waiting("measuring how many trials share a GPU") if useful(work, nodes) > 1 else nullcontext():
        per_gpu = trials_per_gpu(work, nodes, folder.path, storage, display.log)
    resources = trial_resources(plan.experiment.resources, nodes, per_gpu)
    side_by_side = slots(resources, nodes, plan.experiment.resources.max_concurrent_trials)
    place = storage.place(folder.path)
    left = len(plan.trials) - len(finished)
    later = "; ".join(["", *(x.words for x in to_come(plan.experiment))])
    count = f"{counted(left, 'trial')}, {side_by_side} at a time" if left else "no trial is left to train"
    display.log(f"{count}; {place}{later}")
    waiting = {name: a.parameters for name, a in checked.analyses.items() if name not in finished}
    check_free_space(folder.path, waiting, side_by_side, plan.experiment.max_checkpoint_bytes)
    return nodes, resources


def _work(checked: Checked, finished: Collection[str]) -> Work:
    """What is left to train, as far as it decides how many trials share a GPU."""
    dataset = checked.dataset
    return Work(
        checked.plan,
        [spec for spec in checked.plan.trials if spec.name not in finished],
        {name: float(analysis.macs or analysis.parameters) for name, analysis in checked.analyses.items()},
        dataset.shape,
        len(dataset.classes),
        dataset.train.images.nbytes,
    )
