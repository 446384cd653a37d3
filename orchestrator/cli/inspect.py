"""``orchestrator inspect``: what a network is, before it trains."""

from pathlib import Path

import click

from orchestrator.cli.options import options


@click.command("inspect")
@click.argument("variant")
@click.option("--classes", default=10, show_default=True, type=click.IntRange(min=1), help="How many classes.")
@click.option("--size", default="32", show_default=True, metavar="N or HxW", help="Of the pictures, in pixels.")
@click.option("--contract", type=click.Path(path_type=Path), metavar="EXPERIMENT.yaml", help="Judge by its contract.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the network into this file (.png, .svg, .pdf).")
@options("json")
def command(
    variant: str, classes: int, size: str, contract: Path | None, figure: Path | None, as_json: bool, debug: bool
) -> int:
    """Layers, parameters, MACs, receptive field and contract of VARIANT (a built-in name or path/to/file.py:Class)."""
    from orchestrator.cli.inspecting import inspect

    height, _, width = size.partition("x")
    if not height.isdigit() or not (width or height).isdigit() or not int(height) or not int(width or height):
        raise click.BadParameter(f"{size!r} is neither a number of pixels nor HxW", param_hint="--size")
    if figure is not None and figure.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{figure}: the file's name must end in .png, .svg or .pdf", param_hint="--figure")
    return inspect(variant, classes, (3, int(height), int(width or height)), contract, figure, as_json)
