"""``orchestrator doctor``: what is wrong with this machine, cluster, store or data."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options


@click.command("doctor")
@click.argument("experiment", required=False, type=click.Path(path_type=Path), metavar="[EXPERIMENT.yaml]")
@click.option(
    "--patience", default=60.0, show_default=True, type=click.FloatRange(1), help="Seconds for a node to answer."
)
@options("address", "data_dir", "storage", "tracking_uri", "json")
def command(**flags: Any) -> int:
    """Check this machine and, with --address, every node of the cluster: what a run would find out later.

    ADDRESS is auto or host:port on a node of the cluster, or http://127.0.0.1:8265 from elsewhere: then the head looks.
    With EXPERIMENT.yaml its data set is read as well. Exit codes: 0 no failure, 1 a failure, 2 a wrong request.
    """
    from orchestrator.cli.doctoring import examine

    return examine(**flags)
