"""``orchestrator stop``: let a submitted job finish its epochs, keep everything, and end."""

import click

from orchestrator.cli.options import options
from orchestrator.cli.reaching import reach_options


@click.command("stop")
@click.argument("job", metavar="ID")
@reach_options
@options()
def command(job: str, address: str | None, insecure: bool, debug: bool) -> int:
    """Stop job ID after the epochs in progress. Submitting the experiment again resumes it."""
    from orchestrator.cli.stopping import stop

    return stop(job, address, insecure)
