"""``orchestrator submit``: run an experiment file as a job on a cluster."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options
from orchestrator.cli.reaching import reach_options


@click.command("submit")
@options("experiment", "set", "again", "json", "quiet")
@click.option(
    "--storage",
    metavar="PLACE",
    show_default="the head's ORCHESTRATOR_STORAGE",
    help="Where the cluster keeps trial folders.",
)
@click.option(
    "--data-dir",
    metavar="FOLDER",
    show_default="the head's ORCHESTRATOR_DATA_DIR",
    help="Folder of datasets on the head.",
)
@click.option(
    "--tracking-uri", metavar="URI", show_default="the head's MLFLOW_TRACKING_URI", help="MLflow's tracking store."
)
@click.option(
    "--follow/--no-wait",
    "wait",
    default=True,
    show_default=True,
    help="Show the job's progress until it ends, or return at once.",
)
@reach_options
def command(experiment: Path, overrides: tuple[str, ...], **flags: Any) -> int:
    """Run EXPERIMENT.yaml as a job on a cluster; submitting the same experiment again joins or resumes the job.

    The file and your own networks are uploaded with the job; datasets are not, they must be on the head. Ctrl-C stops
    watching with exit code 130, and the job continues. Other exit codes are those of `orchestrator run`.
    """
    from orchestrator.cli.submitting import submit

    return submit(experiment, overrides, **flags)
