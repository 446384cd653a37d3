"""``orchestrator run``: train and compare everything in an experiment file."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options


@click.command("run")
@click.option("--events", is_flag=True, hidden=True, help="In a job: also print a machine-readable line per event.")
@options(
    "experiment", "set", "until_decided", "data_dir", "storage", "tracking_uri", "address", "again", "json", "quiet"
)
def command(
    experiment: Path,
    overrides: tuple[str, ...],
    until_decided: bool,
    events: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> int:
    """Train every trial of EXPERIMENT.yaml with Ray Tune, record it in MLflow and print the verdict.

    The same command resumes an interrupted launch.
    """
    from orchestrator.cli.show import Show
    from orchestrator.experiment.reader import read_file
    from orchestrator.scheduling.storage import open_storage
    from orchestrator.workflow.commands import ExperimentSource
    from orchestrator.workflow.run import run

    if events:
        from orchestrator.cluster.locations import refuse_temporary_locations
        from orchestrator.tracking.store import tracking_uri as choose_store

        refuse_temporary_locations(flags["storage"], choose_store(flags["tracking_uri"]))
    more = ("verdict.until_decided=true",) if until_decided else ()
    display = Show(as_json, quiet, events)
    source = ExperimentSource(experiment, (*overrides, *more))
    settings = read_file(source.file, source.overrides, display.log)
    with open_storage(flags.pop("storage")) as storage:
        result = run(settings, storage=storage, display=display, source=source, as_job=events, **flags)
    return 1 if result.failures else 0
