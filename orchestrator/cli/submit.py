"""``orchestrator submit``: an experiment file becomes a job on a cluster."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options
from orchestrator.cli.reaching import reach_options


@click.command("submit")
@options("experiment", "set", "again", "json", "quiet")
@click.option("--storage", metavar="PLACE", help="On the cluster.  [default: the head's ORCHESTRATOR_STORAGE]")
@click.option("--data-dir", metavar="FOLDER", help="On the head.  [default: the head's ORCHESTRATOR_DATA_DIR]")
@click.option("--tracking-uri", metavar="URI", help="MLflow's store.  [default: the head's MLFLOW_TRACKING_URI]")
@click.option(
    "--follow/--no-wait", "wait", default=True, help="Watch it to its end, or return at once.  [default: follow]"
)
@reach_options
def command(experiment: Path, overrides: tuple[str, ...], **flags: Any) -> int:
    """Run EXPERIMENT.yaml as a job on a cluster; the same experiment submitted again joins it or carries it on.

    The file and your own networks travel with the job, data do not: they lie on the head. Ctrl-C stops watching, with
    exit code 130, and the job goes on. Exit codes otherwise are those of `orchestrator run`.
    """
    from orchestrator.cli.submitting import submit

    return submit(experiment, overrides, **flags)
