"""``orchestrator resume``: resume an interrupted launch."""

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from orchestrator.cli.options import options


@click.command("resume")
@click.argument("name")
@click.option("--launch", metavar="LAUNCH", show_default="the one last worked on", help="Which launch of NAME.")
@options("data_dir", "storage", "tracking_uri", "address", "json", "quiet")
def command(name: str, launch: str | None, as_json: bool, quiet: bool, **flags: Any) -> int:
    """Resume a launch of the experiment NAME from its files in the storage folder.

    It is resumed in the folder that it was begun from, where its networks and datasets are; what flags say is relative
    to the current one.
    """
    from contextlib import chdir, nullcontext
    from dataclasses import replace

    from orchestrator.cli.show import Show
    from orchestrator.experiment.reader import read_stored
    from orchestrator.scheduling.launch_folder import LaunchFolder, fetch_launches, newest_launch
    from orchestrator.scheduling.storage import open_storage
    from orchestrator.workflow.run import run

    with open_storage(flags.pop("storage")) as storage:
        fetch_launches(storage, name)
        folder, plain = newest_launch(storage.root, name, launch)
        display = Show(as_json, quiet)
        directory = folder.directory
        if elsewhere := directory is not None and directory.resolve() != Path.cwd().resolve():
            display.log(f"launch {folder.name} was begun in {directory}, and is resumed there")
            storage, folder = replace(storage, root=storage.root.resolve()), LaunchFolder(folder.path.resolve())
            _keep_meaning(flags)
        with chdir(directory) if elsewhere and directory else nullcontext():
            experiment = read_stored(plain, str(folder.path / "launch.json"))
            result = run(experiment, storage=storage, display=display, folder=folder, away=elsewhere, **flags)
    return 1 if result.failures else 0


def _keep_meaning(flags: dict[str, Any]) -> None:
    """Make what was given absolute, on the command line or in the environment; defaults mean the other folder."""
    from orchestrator.tracking.store import absolute_uri

    if click.get_current_context().get_parameter_source("data_dir") is not ParameterSource.DEFAULT:
        flags["data_dir"] = flags["data_dir"].absolute()
    if given := flags["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI"):
        flags["tracking_uri"] = absolute_uri(given)
