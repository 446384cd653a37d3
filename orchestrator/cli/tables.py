"""The result of a launch as commands print it: tables for people, one document for programs."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from orchestrator.cli.options import print_json
from orchestrator.reporting.comparison.tables import comparison_table, cost_table, settings_table, trouble_table
from orchestrator.tracking.registry import Registered
from orchestrator.workflow.results import Results


def print_result(result: Results, as_json: bool, registered: Sequence[Registered] = ()) -> None:
    """Print tables and the verdict in words, or the JSON document, and the registered models."""
    if as_json:
        more = {"registered": [asdict(entry) for entry in registered]} if registered else {}
        print_json({**result.to_dict(), **more})
        return
    console = Console()
    console.print(comparison_table(result.comparison))
    tables = cost_table(result.comparison), settings_table(result.comparison), trouble_table(result.rows)
    for table in tables:
        if table is not None:
            console.print()
            console.print(table)
    console.print()
    console.print(result.comparison.sentence, highlight=False)
    for entry in registered:
        line = f"registered: models:/{entry.model}@{entry.alias} is version {entry.version}, {entry.trial}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
