"""``orchestrator variants``: the table of built-in variants."""

import click

from orchestrator.cli.options import options, print_json


@click.command("variants")
@options("json")
def command(as_json: bool, debug: bool) -> int:
    """The built-in variants with their families, sizes and receptive fields (10 classes, 32 x 32 pictures)."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from orchestrator.architectures import VARIANTS, build_network, family
    from orchestrator.contract import analyse

    analyses = {name: analyse(build_network(name), (3, 32, 32)) for name in VARIANTS}
    if as_json:
        print_json(
            [
                {
                    "variant": name,
                    "family": family(name),
                    "parameters": analysis.parameters,
                    "macs": analysis.macs,
                    "receptive_field": analysis.receptive_field.to_json(),
                }
                for name, analysis in analyses.items()
            ]
        )
        return 0
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption="any other network: path/to/file.py:Class",
        caption_justify="left",
    )
    table.add_column("variant", no_wrap=True)
    table.add_column("family", no_wrap=True)
    for column in ("parameters", "million\nMACs", "receptive field\nfeatures / output"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, analysis in analyses.items():
        field = analysis.receptive_field
        macs = "" if analysis.macs is None else f"{analysis.macs / 1e6:,.1f}"
        table.add_row(name, family(name), f"{analysis.parameters:,}", macs, f"{field.features} / {field.output}")
    Console().print(table)
    return 0
