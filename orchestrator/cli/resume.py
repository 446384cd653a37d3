"""``orchestrator resume``: carry on an interrupted launch."""

from typing import Any

import click

from orchestrator.cli.options import options


@click.command("resume")
@click.argument("name")
@options("data_dir", "storage", "tracking_uri", "address", "json", "quiet")
def command(name: str, **flags: Any) -> int:
    """Carry on the newest launch of the experiment NAME from what lies in the storage folder."""
    from orchestrator.cli.launching import launch
    from orchestrator.experiment.reader import read_experiment
    from orchestrator.scheduling.storage import newest_launch

    folder, plain = newest_launch(flags["storage"], name)
    return launch(read_experiment(plain, str(folder.path / "launch.json")), folder=folder, **flags)
