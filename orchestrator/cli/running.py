"""What ``run`` and ``resume`` do: print a launch that is complete, or start Ray and run one."""

from pathlib import Path

from orchestrator.cli.completed import completed_launch, show_completed
from orchestrator.cli.show import Show
from orchestrator.cli.warming import warm_up
from orchestrator.scheduling.free_cores import FreeCores, core_count
from orchestrator.scheduling.mirror import Storage
from orchestrator.scheduling.session import StartingRay, check_address
from orchestrator.scheduling.storage import LaunchFolder
from orchestrator.spec import Experiment
from orchestrator.tracking.store import tracking_uri as choose_store


def run(
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
    events: bool = False,
    folder: LaunchFolder | None = None,
    source: Path | None = None,
) -> int:
    """Run ``experiment`` to its verdict and print it; returns the exit code.

    ``folder`` is the launch to resume, ``source`` the experiment file.
    """
    show = Show.of(as_json, quiet, debug, events)
    if not again:
        uri = choose_store(tracking_uri)
        if (launch := completed_launch(storage, experiment, data_dir, uri)) is not None:
            return show_completed(experiment, launch, uri, show)
    if address is not None:
        check_address(address)
    with StartingRay(address, debug) as ray:
        cores = ray.then(_free_cores)
        try:
            from orchestrator.cli.launching import launch as run_launch  # torch comes with it, while Ray starts

            return run_launch(
                experiment,
                data_dir=data_dir,
                storage=storage,
                tracking_uri=tracking_uri,
                address=address,
                show=show,
                ray=ray,
                cores=cores,
                again=again,
                folder=folder,
                source=source,
            )
        finally:
            if cores.exception() is None:  # waits for the start of Ray, which could not end before
                cores.result().shutdown(wait=False)


def _free_cores(nodes: list[dict[str, float]]) -> FreeCores:
    """Where reports are made; its first process imports what it needs while this one looks at data and networks."""
    cores = FreeCores(core_count(nodes))
    cores.warm(warm_up)
    return cores
