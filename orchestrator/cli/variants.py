"""``orchestrator variants``: list the built-in variants."""

import click

from orchestrator.cli.options import options, print_json


@click.command("variants")
@options("json")
def command(as_json: bool, debug: bool) -> int:
    """List the built-in variants with family, parameters, MACs and receptive field (10 classes, 32 x 32 images)."""
    from orchestrator.architectures.table import VARIANTS
    from orchestrator.reporting.console import plain_console
    from orchestrator.reporting.terminal_table import bare_table
    from orchestrator.text import large

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
    table = bare_table(
        caption="receptive field: of the last feature map before global pooling / of the output\n"
        "any other network: path/to/file.py:Class",
        gap=1,
    )
    table.add_column("variant", no_wrap=True)
    table.add_column("family", no_wrap=True)
    table.add_numbers("parameters", "MACs", "receptive\nfield")
    for name, variant in VARIANTS.items():
        field = f"{variant.features} / {variant.output}"
        table.add_row(name, variant.family, f"{variant.parameters:,}", large(variant.macs), field)
    plain_console().print(table)
    return 0
