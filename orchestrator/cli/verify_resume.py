"""``orchestrator verify-resume``: kill at random points, resume, compare with an undisturbed launch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import options, print_json


@click.command("verify-resume")
@click.option(
    "--kills", type=click.IntRange(min=1), default=4, show_default=True, help="How often something is killed."
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Random seed for the moments of the kills.  [default: another each time]"
)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep both launches in this folder, which must not exist."
)
@options("experiment", "set", "data_dir", "json")
def command(experiment: Path, overrides: tuple[str, ...], as_json: bool, debug: bool, **flags: Any) -> int:
    """Show on this machine that EXPERIMENT.yaml, killed with -9 again and again, ends as if it never had been.

    Runs it twice in a temporary folder: undisturbed, and with its driver or a worker killed at random moments and
    resumed. Then weights, records and MLflow's content are compared. Exit code 0: equal; 1: they differ.
    """
    from orchestrator.workflow.verify import verify

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    found = verify(experiment, overrides, say=say, **flags)
    if as_json:
        print_json({**asdict(found), "equal": found.equal})
    for difference in found.differences:
        say(f"  differs: {difference}")
    struck = f"{len(found.kills)} kills ({', '.join(found.kills) or 'none: it ended too soon'})"
    outcome = (
        "weights, records and MLflow's content are equal, to the bit"
        if found.equal
        else f"{len(found.differences)} things differ"
    )
    say(f"{found.experiment}: after {struck}, {outcome}")
    return 0 if found.equal and found.kills else 1
