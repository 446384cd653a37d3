"""Draw the reports of an ended launch again, from its trial folders, and publish them in MLflow."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import chdir, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.analysis import Analysis, analyse
from orchestrator.architectures import build_network
from orchestrator.data import Dataset, load_dataset
from orchestrator.data.arrays import to_arrays
from orchestrator.errors import DataError, OrchestratorError, RequestError, VariantError
from orchestrator.experiment.moved import found_today, missing_source
from orchestrator.experiment.reader import read_stored
from orchestrator.reporting.published import read_curve
from orchestrator.scheduling.launch_folder import LaunchFolder, fetch_launches, newest_launch
from orchestrator.scheduling.ray_executor import RayExecutor, core_count
from orchestrator.scheduling.session import BackgroundRay
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.tracking.artifacts import REPORT_FILE
from orchestrator.tracking.read import trial_runs
from orchestrator.tracking.store import absolute_uri, asked, connect
from orchestrator.tracking.store import tracking_uri as choose_store
from orchestrator.tracking.writer import publish_report
from orchestrator.trial import TrialFolder
from orchestrator.trial.folder import CHECKPOINTS
from orchestrator.trial.source import refuse_edited_since_trained
from orchestrator.workflow.apart import apart
from orchestrator.workflow.display import Display
from orchestrator.workflow.make_report import Order
from orchestrator.workflow.report_queue import Reporter
from orchestrator.workflow.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_NAMES = 20  # in an error


def redraw(
    name: str,
    trial: str | None = None,
    *,
    launch: str | None = None,
    data_dir: Path,
    storage: Storage,
    tracking_uri: str | None = None,
    display: Display,
) -> list[Trial]:
    """Draw the report of each ended trial of the experiment ``name`` again; of a search, of each that has one.

    ``trial`` is the only one to draw, ``launch`` the folder of a launch (default: the one last worked on). It is done
    in the folder in which the launch was run, where its networks, dataset and store are; what is given keeps its
    meaning. Returns the trials that were drawn and published. Raises a RequestError, before anything is drawn, if a
    name is unknown, the data or MLflow's launch is missing or the launch is running; and OrchestratorError if a report
    could not be drawn.
    """
    given_as, storage = storage, replace(storage, root=storage.root.absolute())
    fetch_launches(storage, name)
    folder, content = newest_launch(storage.root, name, launch)
    folder.fetch(storage)
    experiment = read_stored(content, str(folder.path / "launch.json"))
    chosen = _chosen(folder, trial, storage, experiment)
    given = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    tracking_uri = absolute_uri(given) if given else None
    data_dir = data_dir.absolute() if data_dir.exists() else data_dir
    with chdir(folder.directory or Path.cwd()), folder.locked(), asked(uri := choose_store(tracking_uri)):
        published = read_curve(Path(experiment.published_curve)) if experiment.published_curve else []
        client = connect(uri, make=False)
        runs = trial_runs(client, name, folder.name, folder.id)
        display.log(f"reading data: {experiment.dataset.name}")
        with apart():
            dataset = load_dataset(experiment.dataset, data_dir)
            chosen = _placed(chosen, experiment, folder, storage)
            _refuse_changed(chosen, dataset)
            orders = _orders(folder, chosen, storage, _analyses(chosen.values(), dataset), published)
        drawn = _draw(orders, chosen, dataset, display)
        for order in drawn:
            storage.fetch(order.folder, lambda file: not file.startswith(f"{CHECKPOINTS}/"))
            kept = given_as.root / folder.trial(order.trial).relative_to(storage.root)
            display.log(f"{order.trial}: {given_as.place(kept)}/{REPORT_FILE}")
            if order.trial in runs:
                publish_report(client, runs[order.trial], order.folder)
            else:
                display.log(f"{order.trial}: MLflow has no run of it, so its report is only in its folder")
    if missing := [order.trial for order in orders if order not in drawn]:
        raise OrchestratorError(f"{len(missing)} of {len(orders)} reports could not be drawn: {_some(missing)}")
    return [_trial(order, runs, client, storage) for order in drawn]


def _chosen(folder: LaunchFolder, trial: str | None, storage: Storage, experiment: Experiment) -> dict[str, TrialSpec]:
    """The specifications of the trials to draw, by name."""
    found = (TrialFolder(path.parent) for path in sorted((folder.path / "trials").rglob("spec.json")))
    ended = {(spec := each.spec()).name: spec for each in found if each.outcome() is not None}
    where = f"launch {folder.name} of {experiment.name}"
    if trial is not None:
        if trial not in ended:
            raise RequestError(f"{where} has no ended trial {trial!r}; it has: {_some(list(ended))}")
        return {trial: ended[trial]}
    if experiment.search is not None:
        drawn = {t: spec for t, spec in ended.items() if REPORT_FILE in storage.children(folder.trial(t))}
        if ended and not drawn:
            raise RequestError(f"{where} has no trial with a report; name one of: {_some(list(ended))}")
        return drawn
    if not ended:
        raise RequestError(f"{where} has no ended trial")
    return ended


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES]) or 'none'}{more}"


def _placed(
    specs: Mapping[str, TrialSpec], experiment: Experiment, folder: LaunchFolder, storage: Storage
) -> dict[str, TrialSpec]:
    """``specs`` with their networks where these lie today; their folders say so too, for whoever draws them."""
    found = {name: found_today(spec, experiment) for name, spec in specs.items()}
    for name, spec in found.items():
        if (trial := TrialFolder(folder.trial(name))).renew(spec):
            storage.push(trial.path / "spec.json")
    return found


def _refuse_changed(specs: Mapping[str, TrialSpec], dataset: Dataset) -> None:
    """Raise a RequestError that names a trial whose data or network is not what it was trained with."""
    for name, spec in specs.items():
        if spec.dataset_digest not in ("", dataset.digest):
            raise DataError(f"{dataset.name} is not what {name} was trained on; see --data-dir")
        if source := missing_source(spec):
            raise VariantError(
                f"{name} was trained with {source}, and there is no such file: bring it back or, if it has been moved, "
                "let the experiment file name it where it is and run that once more, which trains nothing again"
            )
        refuse_edited_since_trained(spec)


def _analyses(specs: Iterable[TrialSpec], dataset: Dataset) -> dict[str, Analysis]:
    """The analysis of each network, by its key."""
    networks = {
        spec.network_key: build_network(spec.variant, spec.arguments, len(dataset.classes), dataset.shape)
        for spec in {spec.network_key: spec for spec in specs}.values()
    }
    return {key: analyse(network, dataset.shape) for key, network in networks.items()}


def _orders(
    folder: LaunchFolder,
    specs: Mapping[str, TrialSpec],
    storage: Storage,
    analyses: Mapping[str, Analysis],
    published: Sequence[tuple[int, float]],
) -> list[Order]:
    orders = []
    for name, spec in specs.items():
        place = folder.trial(name) if storage.uri else folder.trial(name).resolve()  # Ray's workers run elsewhere
        analysis = analyses.get(spec.network_key)
        orders.append(Order(name, place, analysis, report=True, storage=storage, published=published))
    return orders


def _draw(orders: Sequence[Order], specs: Mapping[str, TrialSpec], dataset: Dataset, display: Display) -> list[Order]:
    """Those of ``orders`` that were made."""
    drawn: set[str] = set()

    def deliver(order: Order, made: bool) -> None:
        if made:
            drawn.add(order.trial)

    with _executor(len(orders)) as executor:
        packed = to_arrays(dataset)
        shared = executor.put(packed) if isinstance(executor, RayExecutor) else packed
        reporter = Reporter(executor, shared, deliver, display.log)
        for order in orders:
            reporter.order(order, specs[order.trial])
        with display.waiting("making reports") as progress:
            reporter.wait(progress)
    return [order for order in orders if order.trial in drawn]


@contextmanager
def _executor(count: int) -> Iterator[Executor]:
    """This process for one report; for more, all cores of this machine, with a Ray that takes seconds to start."""
    if count == 1:
        with ThreadPoolExecutor(1) as here:
            yield here
        return
    with BackgroundRay() as ray:
        executor = RayExecutor(core_count(ray.nodes()))
        executor.raise_priority()  # nothing trains meanwhile
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)


def _trial(order: Order, runs: Mapping[str, "Run"], client: "MlflowClient", storage: Storage) -> Trial:
    """The trial with its files: in its folder or, where this process has only a copy of that, in MLflow."""
    run = runs.get(order.trial)
    folder = None if storage.uri is not None and run is not None else order.folder
    return Trial(order.trial, folder=folder, run_id=None if run is None else str(run.info.run_id), client=client)
