"""``orchestrator compare``: the verdict of an MLflow experiment."""

import click

from orchestrator.cli.options import options


@click.command("compare")
@click.argument("name")
@click.option("--launch", help="Which launch of the experiment.  [default: the newest]")
@click.option("--target", type=click.FloatRange(0, 1, min_open=True), help="Accuracy (fraction) that epochs count to.")
@options("tracking_uri", "json")
def command(
    name: str, launch: str | None, target: float | None, tracking_uri: str | None, as_json: bool, debug: bool
) -> int:
    """One row a variant of the MLflow experiment NAME, over its seeds; the best marked."""
    from orchestrator.cli.result import print_result, read_result
    from orchestrator.tracking.store import asked, connect
    from orchestrator.tracking.store import tracking_uri as choose

    uri = choose(tracking_uri)
    client = connect(uri, make=False)
    with asked(uri):
        result = read_result(client, name, launch, target)
    print_result(result, as_json)
    return 0
