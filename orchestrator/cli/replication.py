"""``orchestrator replication``: published accuracies against the launches that replicate them."""

import click

from orchestrator.cli.options import options


@click.command("replication")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--launch", show_default="the one last worked on", help="Which launch, of one experiment.")
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the intervals and decisions.",
)
@options("tracking_uri", "json")
def command(
    names: tuple[str, ...],
    launch: str | None,
    confidence: float,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Compare the MLflow experiments NAME with the accuracies published of their networks.

    Without a name: every experiment whose newest launch names published accuracies. One line each for the last epoch
    and for the best one: replicated, better, not replicated, or undecided.
    """
    from orchestrator.cli.options import print_json
    from orchestrator.reporting.console import plain_console
    from orchestrator.reporting.replication import reasons, replication_table
    from orchestrator.tracking.store import reading
    from orchestrator.workflow.replication import read_replications

    with reading(tracking_uri) as (client, _):
        rows = read_replications(client, names, launch, confidence)
    if as_json:
        print_json({"replications": [row.to_dict() for row in rows]})
        return 0
    console = plain_console()
    console.print(replication_table(rows))
    for line in reasons(rows):
        console.print(line)
    return 0
