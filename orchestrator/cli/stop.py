"""``orchestrator stop``: a submitted job finishes its epochs, keeps everything, and ends."""

import click

from orchestrator.cli.options import options
from orchestrator.cli.reaching import reach_options


@click.command("stop")
@click.argument("job", metavar="ID")
@reach_options
@options()
def command(job: str, address: str | None, insecure: bool, debug: bool) -> int:
    """End the job ID: epochs in progress are finished, and submitting the experiment again carries it on."""
    from orchestrator.cli.stopping import stop

    return stop(job, address, insecure)
