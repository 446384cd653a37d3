"""What a network is, as people and programs read it: used by ``inspect``."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.architectures import build_network, family
from orchestrator.architectures.build import passed
from orchestrator.architectures.locate import source_notes
from orchestrator.architectures.probe import probe
from orchestrator.cli.checking import evaluation_notes
from orchestrator.cli.options import print_json
from orchestrator.contract import Analysis, ContractResult, LayerRow, analyse, check_contract, describe
from orchestrator.experiment.reader import read_file
from orchestrator.spec import Contract, variant_label


def inspect(
    variant: str,
    classes: int,
    shape: tuple[int, int, int],
    contract_file: Path | None,
    figure: Path | None,
    as_json: bool,
) -> int:
    """Analyse ``variant`` and print it; returns the exit code, which is 2 if it breaks the given contract."""
    contract = read_file(contract_file).contract if contract_file else Contract()
    network = build_network(variant, None, classes, shape)
    analysis = analyse(network, shape)
    given = passed(variant, {}, classes, shape).notes
    notes = [*given, *source_notes(variant), *evaluation_notes(variant_label(variant), probe(network, shape))]
    result = check_contract(analysis, contract)
    if figure is not None:
        from orchestrator.reporting.network import draw_network

        figure.parent.mkdir(parents=True, exist_ok=True)
        draw_network(analysis, variant_label(variant)).savefig(figure)
    if as_json:
        print_json({**describe(variant, family(variant), analysis, result), "notes": [*analysis.notes, *notes]})
    else:
        _print(variant, analysis, result, notes)
    return 0 if result.passed else 2


def _print(variant: str, analysis: Analysis, result: ContractResult, notes: Sequence[str]) -> None:
    console = Console()
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
        f"{variant_label(variant)} ({family(variant)}): {analysis.parameters:,} parameters, {macs} MACs a picture",
        highlight=False,
    )
    console.print(
        f"receptive field: {_cell(field.features) or 'unknown'} pixels before global pooling, "
        f"{_cell(field.output) or 'unknown'} at the output{f' ({field.reason})' if field.reason else ''}",
        highlight=False,
    )
    console.print("kernel: size, (s)tride, (p)adding, (d)ilation, (g)roups where not 1, 0, 1, 1", style="dim")
    for note in (*analysis.notes, *notes):
        console.print(f"note: {note}", highlight=False, markup=False)
    for check in result.checks:
        console.print(check.in_words(), style="green" if check.passed else "red", highlight=False, markup=False)


def _geometry(row: LayerRow) -> str:
    """The kernel, and what differs from stride 1, no padding, no dilation and no groups."""
    if row.kernel is None:
        return ""
    usual = (("s", row.stride, 1), ("p", row.padding, 0), ("d", row.dilation, 1), ("g", row.groups, 1))
    return " ".join([_cell(row.kernel), *(f"{letter}{_cell(v)}" for letter, v, u in usual if v not in (u, None))])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
