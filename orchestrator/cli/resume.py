"""``orchestrator resume``: resume an interrupted launch."""

from typing import Any

import click

from orchestrator.cli.options import options


@click.command("resume")
@click.argument("name")
@click.option("--launch", metavar="LAUNCH", show_default="the one last worked on", help="Which launch of NAME.")
@options("data_dir", "storage", "tracking_uri", "address", "json", "quiet")
def command(name: str, launch: str | None, as_json: bool, quiet: bool, **flags: Any) -> int:
    """Resume a launch of the experiment NAME from its files in the storage folder."""
    from orchestrator.cli.show import Show
    from orchestrator.experiment.reader import read_stored
    from orchestrator.scheduling.launch_folder import fetch_launches, newest_launch
    from orchestrator.scheduling.storage import open_storage
    from orchestrator.workflow.run import run

    with open_storage(flags.pop("storage")) as storage:
        fetch_launches(storage, name)
        folder, plain = newest_launch(storage.root, name, launch)
        experiment = read_stored(plain, str(folder.path / "launch.json"))
        result = run(experiment, storage=storage, display=Show(as_json, quiet), folder=folder, **flags)
    return 1 if result.failures else 0
