"""``orchestrator validate``: check an experiment file and print its plan."""

from pathlib import Path

import click

from orchestrator.cli.options import options, print_json


@click.command("validate")
@click.option("--schema", is_flag=True, is_eager=True, help="Print the JSON schema of experiment files and stop.")
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT.yaml", required=False)
@options("set", "data_dir", "json")
def command(
    schema: bool, experiment: Path | None, overrides: tuple[str, ...], data_dir: Path, as_json: bool, debug: bool
) -> int:
    """Check EXPERIMENT.yaml, its data and its networks, and print the plan; train nothing."""
    from orchestrator.experiment.reader import json_schema, read_file

    if schema:
        print_json(json_schema())
        return 0
    if experiment is None:
        raise click.UsageError("name an experiment file")
    from orchestrator.cli.planning import show_plan

    show_plan(read_file(experiment, overrides), data_dir, as_json)
    return 0
