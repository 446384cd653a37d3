"""``orchestrator verify-resume``: kill at random points, resume, compare with an undisturbed launch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import PATH, options, print_json
from orchestrator.cli.piped import tell
from orchestrator.text import counted


@click.command("verify-resume")
@click.option("--kills", type=click.IntRange(min=1), default=4, show_default=True, help="Number of kills.")
@click.option(
    "--seed", type=click.IntRange(min=0), show_default="random", help="Random seed for the moments of the kills."
)
@click.option(
    "--keep",
    type=PATH,
    show_default="removed",
    help="Keep both launches in this new folder.",
)
@options("experiment", "set", "data_dir", "json")
def command(experiment: Path, overrides: tuple[str, ...], as_json: bool, debug: bool, **flags: Any) -> int:
    """Show that EXPERIMENT.yaml gives the same result when it is killed (kill -9) again and again and resumed.

    Runs it twice on this machine: undisturbed, and with its driver or a worker killed at random moments and resumed.
    Then compares weights, records and MLflow's content. Exit code 0: equal; 1: they differ.
    """
    from orchestrator.workflow.verify import verify

    def say(line: str) -> None:
        tell(line, err=as_json)

    found = verify(experiment, overrides, log=say, **flags)
    if as_json:
        print_json({**asdict(found), "equal": found.equal})
    for difference in found.differences:
        say(f"  differs: {difference}")
    struck = f"{counted(len(found.kills), 'kill')} ({', '.join(found.kills) or 'none: it ended too early'})"
    outcome = (
        "weights, records and MLflow's content are equal, bit for bit"
        if found.equal
        else f"{counted(len(found.differences), 'difference')}"
    )
    say(f"{found.experiment}: after {struck}, {outcome}")
    return 0 if found.equal and found.kills else 1
