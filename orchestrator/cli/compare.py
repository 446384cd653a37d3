"""``orchestrator compare``: the verdict of an MLflow experiment."""

from pathlib import Path

import click

from orchestrator.cli.options import PATH, log, options


@click.command("compare")
@click.argument("name")
@click.option("--launch", show_default="the one last worked on", help="Which launch of the experiment.")
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True),
    show_default="the experiment's target_accuracy",
    help='Accuracy (fraction) for the column "epochs to".',
)
@click.option(
    "--figure",
    type=PATH,
    show_default="none",
    help="Draw the comparison into this .png, .svg or .pdf file.",
)
@click.option("--html", type=PATH, show_default="none", help="Write the comparison to this .html file.")
@click.option(
    "--register",
    metavar="MODEL",
    show_default="none",
    help="Register the best variant's network as a version of this model: as `champion` if it is shown to be better "
    "than the present one on the same test split, or there is none; else as `challenger`.",
)
@click.option("--force", is_flag=True, help="With --register: champion whatever the evidence, which is recorded.")
@click.option(
    "--baseline",
    metavar="VARIANT",
    show_default="the experiment's verdict.baseline",
    help="Compare every other variant with this one; otherwise all pairs are compared.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    show_default="the experiment's verdict.margin",
    help="Difference of accuracy (fraction) below which variants count as equivalent.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    show_default="the experiment's verdict.confidence",
    help="Confidence (fraction) of all intervals together.",
)
@options("data_dir", "tracking_uri", "json")
def command(
    name: str,
    launch: str | None,
    target: float | None,
    figure: Path | None,
    html: Path | None,
    register: str | None,
    force: bool,
    baseline: str | None,
    margin: float | None,
    confidence: float | None,
    data_dir: Path,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Compare the variants of the MLflow experiment NAME: one row per variant over its seeds, and the verdict."""
    from orchestrator.cli.tables import print_result
    from orchestrator.tracking.store import asked, reading
    from orchestrator.workflow.promote import register_best
    from orchestrator.workflow.results import read_results

    for file, flag, allowed in ((figure, "--figure", (".png", ".svg", ".pdf")), (html, "--html", (".html",))):
        if file is not None and file.suffix.lower() not in allowed:
            raise click.BadParameter(f"{file}: the file name must end in {' or '.join(allowed)}", param_hint=flag)
    if register is not None and (not register.strip() or "/" in register or ":" in register):
        raise click.BadParameter("a model's name must not be empty or contain / or :", param_hint="--register")
    if force and register is None:
        raise click.UsageError("--force belongs to --register MODEL")
    with reading(tracking_uri) as (client, uri):
        result = read_results(client, name, launch, target).judged_by(baseline, margin, confidence)
        registered = None if register is None else register_best(client, result, register, force=force)
    print_result(result, as_json, registered)
    if figure is not None or html is not None:
        from orchestrator.workflow.comparison_page import write_result

        with asked(uri):
            write_result(result, figure, html, data_dir, log)
    return 0
