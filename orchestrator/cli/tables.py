"""The result of a launch as commands print it: tables for people, one document for programs."""

from rich.console import Console

from orchestrator.cli.options import print_json
from orchestrator.reporting.comparison.rounds import terminal_rounds
from orchestrator.reporting.comparison.search import terminal_search
from orchestrator.reporting.comparison.search_words import sentences
from orchestrator.reporting.comparison.spending import terminal_spending
from orchestrator.reporting.comparison.tables import (
    comparison_table,
    cost_table,
    settings_table,
    stopped_table,
    trouble_table,
)
from orchestrator.reporting.comparison.wording import left_out
from orchestrator.reporting.console import plain_console
from orchestrator.workflow.promote import Registration
from orchestrator.workflow.results import Results


def print_result(result: Results, as_json: bool, registered: Registration | None = None) -> None:
    """Print tables and the verdict in words, or the JSON document, and what was registered."""
    if as_json:
        more = {} if registered is None else {"registered": registered.to_dict()}
        print_json({**result.to_dict(), **more})
        return
    console = plain_console()
    console.print(comparison_table(result.comparison))
    searches, spent = result.comparison.searches, result.spent
    odd = any(row.saved_seconds or row.lost_seconds or row.reused or row.price is not None for row in spent)
    tables = (
        cost_table(result.comparison),
        settings_table(result.comparison),
        terminal_search(searches) if searches else None,
        terminal_spending(spent) if odd else None,
        stopped_table(result.rows),
        trouble_table(result.rows),
    )
    for table in tables:
        if table is not None:
            console.print()
            console.print(table)
    rounds = result.comparison.rounds
    decided = "" if rounds is None else terminal_rounds(rounds)
    for text in (sentences(searches), decided, left_out(result.left_out), result.comparison.sentence):
        if text:
            console.print()
            console.print(text)
    if registered is not None:
        _print_registered(console, registered)


def _print_registered(console: Console, registration: Registration) -> None:
    entry, forced = registration.registered, ", by --force" if registration.forced else ""
    lines = (
        f"registered: models:/{entry.model}@{entry.alias} is version {entry.version}, {entry.trial}{forced}",
        registration.evidence.reason,
    )
    for line in lines:
        console.print(line, soft_wrap=True)
