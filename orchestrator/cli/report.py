"""``orchestrator report``: draw reports again."""

from typing import Any

import click

from orchestrator.cli.options import options


@click.command("report")
@click.argument("name")
@click.argument("trial", required=False)
@click.option(
    "--launch", show_default="the one last worked on", help="Which launch of the experiment: the name of its folder."
)
@options("data_dir", "storage", "tracking_uri", "quiet")
def command(name: str, trial: str | None, storage: str, quiet: bool, debug: bool, **flags: Any) -> int:
    """Draw the reports of the experiment NAME again, for example after an upgrade.

    Of every ended trial (of a search: of every trial that has a report), or only of TRIAL, such as stride/seed-0.
    Figures, tables and page are written into the trial folders, and published in MLflow.
    """
    from orchestrator.scheduling.storage import open_storage
    from orchestrator.workflow.display import Terminal
    from orchestrator.workflow.report import redraw

    with open_storage(storage) as kept:
        redraw(name, trial, storage=kept, display=Terminal(quiet=quiet), **flags)
    return 0
