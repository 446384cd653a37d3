"""``orchestrator compare``: the verdict of an MLflow experiment."""

from pathlib import Path

import click

from orchestrator.cli.options import options


@click.command("compare")
@click.argument("name")
@click.option("--launch", help="Which launch of the experiment.  [default: the newest]")
@click.option("--target", type=click.FloatRange(0, 1, min_open=True), help="Accuracy (fraction) that epochs count to.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the comparison: a file .png, .svg or .pdf.")
@click.option("--html", type=click.Path(path_type=Path), help="Write it as a page of its own: a file .html.")
@click.option(
    "--register",
    metavar="MODEL",
    help="Make the best variant's network this registered model's `champion`, the next one's its `challenger`.",
)
@options("tracking_uri", "json")
def command(
    name: str,
    launch: str | None,
    target: float | None,
    figure: Path | None,
    html: Path | None,
    register: str | None,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """One row a variant of the MLflow experiment NAME, over its seeds; the best marked, and whether that is chance."""
    from orchestrator.cli.tables import print_result
    from orchestrator.tracking.store import asked, connect
    from orchestrator.tracking.store import tracking_uri as choose
    from orchestrator.workflow.results import read_results, register_result, write_result

    for file, flag, allowed in ((figure, "--figure", (".png", ".svg", ".pdf")), (html, "--html", (".html",))):
        if file is not None and file.suffix.lower() not in allowed:
            raise click.BadParameter(f"{file}: the file's name must end in {' or '.join(allowed)}", param_hint=flag)
    if register is not None and (not register.strip() or "/" in register or ":" in register):
        raise click.BadParameter("a model's name is not empty and has neither / nor :", param_hint="--register")
    uri = choose(tracking_uri)
    client = connect(uri, make=False)
    with asked(uri):
        result = read_results(client, name, launch, target)
        registered = [] if register is None else register_result(client, result, register)
    print_result(result, as_json, registered)
    write_result(result, figure, html)
    return 0
