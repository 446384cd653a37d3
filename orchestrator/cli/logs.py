"""``orchestrator logs``: the output of a submitted job."""

import click

from orchestrator.cli.options import log, options


@click.command("logs")
@click.argument("job", metavar="ID")
@click.option("--follow", is_flag=True, help="Print until the job ends; Ctrl-C stops watching, the job continues.")
@options("jobs_address", "insecure")
def command(job: str, follow: bool, address: str | None, insecure: bool, debug: bool) -> int:
    """Print the output of job ID; with --follow the exit code is the job's, or 130 after Ctrl-C."""
    from orchestrator.cluster.address import address_flags, connect, jobs_address
    from orchestrator.cluster.events import Event
    from orchestrator.cluster.jobs import Jobs

    jobs = Jobs(connect(jobs_address(address), insecure, log))
    found = jobs.get(job)
    if not follow:
        for line in jobs.log(job).splitlines():
            if Event.decode(line) is None:
                click.echo(line)
        return 0

    from orchestrator.reporting.console import plain_console
    from orchestrator.workflow.watch import watch

    return watch(jobs, found, plain_console(), log, address_flags(address, insecure))[0]
