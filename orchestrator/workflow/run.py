"""Run or resume a launch: return its result if it is complete, else start Ray and launch.

Nothing heavy is imported here: torch and MLflow are imported while Ray starts.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError, StorageError
from orchestrator.redact import redact
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.local_mps import local_mps
from orchestrator.scheduling.ray_executor import RayExecutor, core_count
from orchestrator.scheduling.session import BackgroundRay, check_address
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment
from orchestrator.tracking.store import asked, connect, sqlite_file
from orchestrator.tracking.store import tracking_uri as choose_store
from orchestrator.tracking.tags import opened_tag
from orchestrator.workflow.commands import ExperimentSource
from orchestrator.workflow.completed_launch import Complete, completed_launch
from orchestrator.workflow.display import Display
from orchestrator.workflow.preload import preload

if TYPE_CHECKING:
    from orchestrator.workflow.results import Results


def run(
    experiment: Experiment,
    *,
    data_dir: Path,
    storage: Storage,
    display: Display,
    tracking_uri: str | None = None,
    address: str | None = None,
    again: bool = False,
    folder: LaunchFolder | None = None,
    source: ExperimentSource | None = None,
    as_job: bool = False,
    away: bool = False,
    debug: bool = False,
) -> "Results":
    """Run ``experiment`` to its verdict; ``display`` gets it before the last reports are made.

    ``folder`` is the launch to resume, ``source`` its settings; ``away`` and what is raised are as for
    :func:`launch`.
    """
    if not again:
        uri = choose_store(tracking_uri)
        if (complete := completed_launch(storage, experiment, data_dir, uri, folder)) is not None:
            if (result := _recorded(experiment, complete, uri)) is not None:
                _completed(result, display, resumed=folder is not None)
                return result
            lacks = f"{redact(uri)} lacks it or a part of it, which is delivered again"
            display.log(f"experiment {experiment.name}, launch {complete.name}: complete, but {lacks}")
    if address is not None:
        check_address(address)
    shared = nullcontext() if address is not None else local_mps(experiment, display.log)
    with shared, BackgroundRay(address, debug) as ray:
        executor = ray.then(_start_executor)
        try:
            from orchestrator.workflow.launch import launch

            return launch(
                experiment,
                data_dir=data_dir,
                storage=storage,
                tracking_uri=tracking_uri,
                address=address,
                display=display,
                ray=ray,
                starting_executor=executor,
                again=again,
                folder=folder,
                source=source,
                as_job=as_job,
                away=away,
            )
        finally:
            if executor.exception() is None:  # waits until Ray has started, which cannot be stopped before
                executor.result().shutdown(wait=False)


def _recorded(experiment: Experiment, launch: Complete, uri: str) -> "Results | None":
    """The complete launch as MLflow has it; None if that has lost it, or a part of it. Raises StorageError.

    A store restored from a backup may have the launch as it was before it was last worked on.
    """
    from orchestrator.workflow.results import read_results

    if (file := sqlite_file(uri)) is not None and not file.exists():
        return None
    client = connect(uri)
    try:
        with asked(uri):
            result = read_results(client, experiment.name, launch.name)
    except StorageError:  # it does not answer, so nothing could be delivered either
        raise
    except RequestError:  # it has no such experiment or launch
        return None
    same = (result.judging.launch_id, result.judging.opened) == (launch.id, opened_tag(launch.opened))
    return result if result.complete and same else None


def _completed(result: "Results", display: Display, resumed: bool) -> None:
    display.log(f"experiment {result.experiment}, launch {result.launch}: already complete, nothing to train")
    display.result(result)
    command = "run its experiment file with --again" if resumed else "add --again to the command"  # resume has no such
    display.log(f"to train it again, {command}")


def _start_executor(nodes: list[dict[str, float]]) -> RayExecutor:
    """Where reports are made; its first process imports what it needs while this one checks data and networks."""
    executor = RayExecutor(core_count(nodes))
    executor.submit_warm_up(preload)
    return executor
