"""``orchestrator run``: an experiment file becomes a launch."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options


@click.command("run")
@options("experiment", "set", "data_dir", "storage", "tracking_uri", "address", "again", "json", "quiet")
def command(experiment: Path, overrides: tuple[str, ...], **flags: Any) -> int:
    """Train every trial of EXPERIMENT.yaml with Ray Tune, record it in MLflow and print the verdict."""
    from orchestrator.cli.launching import launch
    from orchestrator.experiment.reader import read_file

    return launch(read_file(experiment, overrides), **flags)
