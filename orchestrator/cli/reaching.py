"""How the commands for jobs connect to a cluster: their flags, and finding a job."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orchestrator.cluster.jobs import Job, Jobs


def reach_options(function: Any) -> Any:
    """Add --address and --insecure to a command."""
    function = click.option(
        "--insecure",
        is_flag=True,
        help="Continue even if the cluster needs no token or the connection is not encrypted.",
    )(function)
    return click.option(
        "--address",
        metavar="URL",
        show_default="RAY_API_SERVER_ADDRESS, RAY_ADDRESS or http://127.0.0.1:8265",
        help="Address of Ray's Jobs API.",
    )(function)


def say(line: str) -> None:
    """Print one line about the command itself, on stderr: stdout is for its result."""
    click.echo(line, err=True)


def reach(address: str | None, insecure: bool) -> "Jobs":
    """The jobs of the cluster at ``address``. Raises ResourceError if it is unreachable or not safe."""
    from orchestrator.cluster.address import jobs_address, open_door
    from orchestrator.cluster.jobs import Jobs

    return Jobs(open_door(jobs_address(address), insecure, say))


def known_job(jobs: "Jobs", name: str) -> "Job":
    """The job called ``name``. Raises ResourceError that lists the jobs there are."""
    from orchestrator.errors import ResourceError

    if name and (found := jobs.find(name)) is not None and found.id == name:
        return found
    there = [job.id for job in jobs.all()]
    raise ResourceError(f"{jobs.address} has no job {name!r}; it has: {', '.join(there) or 'none'}")
