"""``orchestrator inspect``: analyse a network before training."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import PATH, options, print_json

if TYPE_CHECKING:
    from orchestrator.analysis import LayerRow
    from orchestrator.workflow.inspect import Inspection


@click.command("inspect")
@click.argument("variant")
@click.option("--classes", default=10, show_default=True, type=click.IntRange(min=1), help="Number of classes.")
@click.option("--size", default="32", show_default=True, metavar="N or HxW", help="Image size in pixels.")
@click.option(
    "--channels", default="3", show_default=True, type=click.Choice(["1", "3"]), help="1 for grey images, 3 for colour."
)
@click.option(
    "--contract",
    type=PATH,
    metavar="EXPERIMENT.yaml",
    show_default="none",
    help="Check the contract of this experiment.",
)
@click.option(
    "--figure",
    type=PATH,
    show_default="none",
    help="Draw the network into this file (.png, .svg, .pdf).",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="arguments.NAME=VALUE",
    show_default="none",
    help="Set an argument of the network's class or function; repeatable.",
)
@options("json")
def command(
    variant: str,
    classes: int,
    size: str,
    channels: str,
    contract: Path | None,
    figure: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    debug: bool,
) -> int:
    """Show layers, parameters, MACs and receptive field of VARIANT.

    VARIANT is a built-in name, path/to/file.py:Class, package.module:Class, timm:NAME or torchvision:NAME; a function
    that returns a network will do as well as a class.
    """
    height, _, width = size.partition("x")
    if not height.isdigit() or not (width or height).isdigit() or not int(height) or not int(width or height):
        raise click.BadParameter(f"{size!r} is not a number of pixels or HxW", param_hint="--size")
    if figure is not None and figure.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{figure}: the file name must end in .png, .svg or .pdf", param_hint="--figure")
    from orchestrator.experiment.overrides import apply_overrides
    from orchestrator.experiment.reader import read_file
    from orchestrator.workflow.inspect import inspect

    limits = read_file(contract).contract if contract else None
    tree = apply_overrides({}, overrides)
    arguments = tree.pop("arguments", {})
    if tree or not isinstance(arguments, dict):
        raise click.BadParameter("only arguments of the network can be set: arguments.NAME=VALUE", param_hint="--set")
    shape = (int(channels), int(height), int(width or height))
    found = inspect(variant, arguments=arguments, classes=classes, shape=shape, contract=limits)
    if figure is not None:
        found.save_figure(figure)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)
    return 0 if found.contract.passed else 2


def _print(found: "Inspection") -> None:
    from rich.table import Table

    from orchestrator.reporting.console import plain_console

    analysis, console = found.analysis, plain_console()
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("kernel", no_wrap=True)
    for column in ("output", "parameters", "jump", "receptive\nfield"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in analysis.layers:
        shape = "x".join(map(str, row.output_shape))
        parameters = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(
            row.name, row.type, _geometry(row), shape, parameters, _cell(row.jump), _cell(row.receptive_field)
        )
    console.print(table)
    field = analysis.receptive_field
    macs = "unknown" if analysis.macs is None else f"{analysis.macs:,}"
    console.print(
        f"{found.label} ({found.to_dict()['family']}): {analysis.parameters:,} parameters, {macs} MACs per image",
    )
    console.print(
        f"receptive field: {_cell(field.features) or 'unknown'} pixels before global pooling, "
        f"{_cell(field.output) or 'unknown'} at the output{f' ({field.reason})' if field.reason else ''}",
    )
    console.print("kernel: size, (s)tride, (p)adding, (d)ilation, (g)roups where not 1, 0, 1, 1", style="dim")
    for note in found.notes:
        console.print(f"note: {note}")
    for check in found.contract.checks:
        console.print(check.format(), style="green" if check.passed else "red")


def _geometry(row: "LayerRow") -> str:
    """The kernel size, and what differs from stride 1, no padding, dilation 1 and one group."""
    if row.kernel is None:
        return ""
    usual = (("s", row.stride, 1), ("p", row.padding, 0), ("d", row.dilation, 1), ("g", row.groups, 1))
    return " ".join([_cell(row.kernel), *(f"{letter}{_cell(v)}" for letter, v, u in usual if v not in (u, None))])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
