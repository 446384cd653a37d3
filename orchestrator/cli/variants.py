"""``orchestrator variants``: list the built-in variants."""

import click

from orchestrator.cli.options import options, print_json


@click.command("variants")
@options("json")
def command(as_json: bool, debug: bool) -> int:
    """List the built-in variants with family, parameters, MACs and receptive field (10 classes, 32 x 32 images)."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from orchestrator.architectures.table import VARIANTS

    if as_json:
        print_json(
            [
                {
                    "variant": name,
                    "family": variant.family,
                    "parameters": variant.parameters,
                    "macs": variant.macs,
                    "receptive_field": {"features": variant.features, "output": variant.output},
                }
                for name, variant in VARIANTS.items()
            ]
        )
        return 0
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption="receptive field: of the last feature map before global pooling / of the output\n"
        "any other network: path/to/file.py:Class",
        caption_justify="left",
    )
    table.add_column("variant", no_wrap=True)
    table.add_column("family", no_wrap=True)
    for column in ("parameters", "million\nMACs", "receptive\nfield"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, variant in VARIANTS.items():
        field = f"{variant.features} / {variant.output}"
        table.add_row(name, variant.family, f"{variant.parameters:,}", f"{variant.macs / 1e6:,.1f}", field)
    Console().print(table)
    return 0
