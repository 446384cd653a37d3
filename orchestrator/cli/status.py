"""``orchestrator status``: the status of submitted jobs."""

import click

from orchestrator.cli.options import options, print_json
from orchestrator.cli.reaching import reach_options


@click.command("status")
@click.argument("job", required=False, metavar="[ID]")
@reach_options
@options("json")
def command(job: str | None, address: str | None, insecure: bool, as_json: bool, debug: bool) -> int:
    """Show the status of every job that `orchestrator submit` started on the cluster, or of job ID."""
    from orchestrator.cli.following import address_flags
    from orchestrator.cli.jobtable import print_job, print_jobs
    from orchestrator.cli.reaching import known_job, reach

    jobs = reach(address, insecure)
    if job is not None:
        found = known_job(jobs, job)
        if as_json:
            print_json(found.to_json())
        else:
            print_job(found, address_flags(address, insecure))
        return 0
    every = jobs.all()
    if as_json:
        print_json([found.to_json() for found in every])
    else:
        print_jobs(every, jobs.address)
    return 0
