"""``orchestrator verify-resume``: kill at random points, resume, compare with an undisturbed launch."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options


@click.command("verify-resume")
@click.option(
    "--kills", type=click.IntRange(min=1), default=4, show_default=True, help="How often something is killed."
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the random points.  [default: another each time]")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep both launches in this folder, which must not exist."
)
@options("experiment", "set", "data_dir", "json")
def command(experiment: Path, overrides: tuple[str, ...], debug: bool, **flags: Any) -> int:
    """Show on this machine that EXPERIMENT.yaml, killed with -9 again and again, ends as if it never had been.

    Runs it twice in a temporary folder: undisturbed, and with its driver or a worker killed at random moments and
    carried on. Then weights, records and MLflow's content are compared. Exit code 0: equal; 1: they differ.
    """
    from orchestrator.cli.verifying import verify

    return verify(experiment, overrides, **flags)
