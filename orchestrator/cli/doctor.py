"""``orchestrator doctor``: problems of this machine, cluster, tracking store or dataset."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options


@click.command("doctor")
@click.argument("experiment", required=False, type=click.Path(path_type=Path), metavar="[EXPERIMENT.yaml]")
@click.option(
    "--patience", default=60.0, show_default=True, type=click.FloatRange(1), help="Seconds to wait for a node's answer."
)
@click.option(
    "--address", metavar="ADDRESS", show_default="this machine only", help="Also check every node of this Ray cluster."
)
@options("data_dir", "storage", "tracking_uri", "json")
def command(**flags: Any) -> int:
    """Check this machine and, with --address, every node of the cluster, before a run fails on it.

    ADDRESS is auto or host:port on a node of the cluster, or http://127.0.0.1:8265 from elsewhere; then the head runs
    the checks. With EXPERIMENT.yaml its dataset is read as well. Exit codes: 0 no failure, 1 a failure, 2 an invalid
    request.
    """
    from orchestrator.cli.doctoring import examine

    return examine(**flags)
