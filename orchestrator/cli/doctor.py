"""``orchestrator doctor``: problems of this machine, cluster, tracking store or dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import PATH, options, print_json
from orchestrator.text import counted

if TYPE_CHECKING:
    from orchestrator.checks import Finding

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "bold red")}


@click.command("doctor")
@click.argument("experiment", required=False, type=PATH, metavar="[EXPERIMENT.yaml]")
@click.option(
    "--patience", default=60.0, show_default=True, type=click.FloatRange(1), help="Seconds to wait for a node's answer."
)
@click.option(
    "--address", metavar="ADDRESS", show_default="this machine only", help="Also check every node of this Ray cluster."
)
@options("data_dir", "storage", "tracking_uri", "json")
def command(
    experiment: Path | None,
    patience: float,
    address: str | None,
    data_dir: Path,
    storage: str,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Check this machine and, with --address, every node of the cluster, before a run fails on it.

    ADDRESS is auto or host:port on a node of the cluster, or http://127.0.0.1:8265 from elsewhere; then the head runs
    the checks. With EXPERIMENT.yaml its dataset is read as well. Exit codes: 0 no failure, 1 a failure, 2 an invalid
    request.
    """
    from dataclasses import asdict

    from orchestrator.checks import Request, diagnose, worst
    from orchestrator.scheduling.storage import check_uri

    check_uri(storage)
    place = storage if "://" in storage else str(Path(storage).absolute())
    found = diagnose(Request(place, experiment, data_dir, tracking_uri, patience=patience), address, debug)
    if as_json:
        print_json({"checks": [asdict(finding) for finding in found], "worst": worst(found)})
    else:
        _print_table(found)
    return 1 if worst(found) == "failure" else 0


def _print_table(found: Sequence["Finding"]) -> None:
    """One row per finding; nodes with the same finding share a row."""
    from rich.table import Table
    from rich.text import Text

    from orchestrator.reporting.console import plain_console

    nodes = list(dict.fromkeys(finding.node for finding in found))
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for name in dict.fromkeys(finding.name for finding in found):
        for f in found:
            if f.name == name:
                rows.setdefault((name, f.status, f.value, f.advice), []).append(f.node)
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    if len(nodes) > 1:
        table.add_column(max_width=18, overflow="fold", style="dim")
    table.add_column(overflow="fold", ratio=1)
    for (name, status, value, advice), where in rows.items():
        sign, style = SIGNS[status]
        text = Text(value, style="" if status == "ok" else style)
        if advice:
            text.append(f"\n→ {advice}", style="cyan")
        table.add_row(Text(sign, style=style), name, *([_in_words(where, nodes)] if len(nodes) > 1 else []), text)
    console = plain_console()
    console.print(table)
    passed, warnings, failures = (sum(status == level for _, status, _, _ in rows) for level in SIGNS)
    counts = f"{counted(failures, 'failure')}, {counted(warnings, 'warning')}, "
    counts += f"{counted(passed, 'check')} passed"
    worst = "failure" if failures else "warning" if warnings else "ok"
    console.print(counts, style=SIGNS[worst][1])


def _in_words(where: Sequence[str], nodes: Sequence[str]) -> str:
    if len(where) == len(nodes):
        return "everywhere"
    if len(nodes) > 2 and set(where) == set(nodes) - {"here"}:
        return "all nodes"
    return ", ".join(where if len(where) <= 4 else [*where[:3], f"{len(where) - 3} more"])
