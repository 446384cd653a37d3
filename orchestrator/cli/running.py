"""What ``run`` and ``resume`` do: print a launch that is complete, or start Ray and run one."""

from pathlib import Path

from orchestrator.cli.completed import completed_launch, show_completed
from orchestrator.cli.show import Show
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
) -> int:
    """Run ``experiment`` to its verdict and print it; returns the exit code. ``folder`` is the launch to resume."""
    show = Show.of(as_json, quiet, debug, events)
    if not again:
        uri = choose_store(tracking_uri)
        if (launch := completed_launch(storage, experiment, data_dir, uri)) is not None:
            return show_completed(experiment, launch, uri, show)
    if address is not None:
        check_address(address)
    ray = StartingRay(address, debug)
    ray.begin()
    with ray:
        from orchestrator.cli.launching import launch as run_launch  # torch comes with it, while Ray starts

        return run_launch(
            experiment,
            data_dir=data_dir,
            storage=storage,
            tracking_uri=tracking_uri,
            address=address,
            show=show,
            ray=ray,
            again=again,
            folder=folder,
        )
