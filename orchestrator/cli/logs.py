"""``orchestrator logs``: the output of a submitted job."""

import click

from orchestrator.cli.options import options
from orchestrator.cli.reaching import reach_options


@click.command("logs")
@click.argument("job", metavar="ID")
@click.option("--follow", is_flag=True, help="Print until the job ends; Ctrl-C stops watching, the job continues.")
@reach_options
@options()
def command(job: str, follow: bool, address: str | None, insecure: bool, debug: bool) -> int:
    """Print the output of job ID; with --follow the exit code is the job's, or 130 after Ctrl-C."""
    from orchestrator.cli.reaching import known_job, reach, say
    from orchestrator.cluster.events import Event

    jobs = reach(address, insecure)
    found = known_job(jobs, job)
    if not follow:
        for line in jobs.log(job).splitlines():
            if Event.decode(line) is None:
                click.echo(line)
        return 0
    from rich.console import Console

    from orchestrator.cli.following import address_flags, watch

    return watch(jobs, found, Console(), say, address_flags(address, insecure), quiet=False)[0]
