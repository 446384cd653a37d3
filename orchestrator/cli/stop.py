"""``orchestrator stop``: let a submitted job finish its epochs, keep everything, and end."""

import click

from orchestrator.cli.options import log, options


@click.command("stop")
@click.argument("job", metavar="ID")
@options("jobs_address", "insecure")
def command(job: str, address: str | None, insecure: bool, debug: bool) -> int:
    """Stop job ID after the epochs in progress. Submitting the experiment again resumes it."""
    from orchestrator.cluster.address import address_flags, connect, jobs_address
    from orchestrator.cluster.follow import wait_until_ended
    from orchestrator.cluster.job import describe
    from orchestrator.cluster.jobs import Jobs

    flags = address_flags(address, insecure)
    jobs = Jobs(connect(jobs_address(address), insecure, log))
    found = jobs.get(job)
    if found.has_ended:
        log(f"it had already ended; {describe(found, flags)}")
        return 0
    jobs.stop(job)
    log(f"job {job}: stopping after the epochs in progress (Ctrl-C stops waiting; the job still stops)")
    try:
        found = wait_until_ended(jobs, job, log)
    except KeyboardInterrupt:
        log(f"\nno longer waiting; job {job} will end by itself: orchestrator status {job}{flags}")
        return 130
    log(describe(found, flags))
    return 0
