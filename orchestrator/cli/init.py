"""``orchestrator init``: an experiment file and a network to begin with."""

from pathlib import Path

import click

from orchestrator.cli.options import options


@click.command("init")
@click.argument("name")
@options()
def command(name: str, debug: bool) -> int:
    """Write NAME.yaml, an experiment file with a comment on every setting, and NAME.py, a small network.

    Existing files are never overwritten.
    """
    from orchestrator.workflow.init import begin

    experiment, network = begin(name, Path())
    click.echo(f"wrote {experiment} and {network}; next:")
    click.echo(f"  orchestrator validate {experiment}")
    click.echo(f"  orchestrator run {experiment}")
    return 0
