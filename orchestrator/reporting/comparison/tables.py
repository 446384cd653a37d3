"""The result of a launch as tables for a terminal with 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.records import TrialRow, short_names
from orchestrator.reporting.comparison.differences import LEVEL, MOST_SEEDS
from orchestrator.reporting.comparison.variants import Comparison
from orchestrator.reporting.comparison.wording import interval
from orchestrator.reporting.terminal import STYLES


def comparison_table(comparison: Comparison) -> Table:
    """One row per variant, best first."""
    table = _table("Comparison")
    table.add_column("variant", no_wrap=True)
    target = f"epochs\nto {100 * comparison.target:g} %"
    for name in ("para-\nmeters", "million\nMACs", "receptive\nfield", "test\naccuracy %", "n", target, "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
        accuracy = "" if row.test_accuracy is None else f"{100 * row.test_accuracy:.2f}{spread}"
        missing = row.failed + row.stopped + row.running
        reached = "" if row.epochs_to_target is None else f"{row.epochs_to_target:g}"
        if row.epochs_to_target is not None and row.reached_target < row.trials:
            reached += f" ({row.reached_target}/{row.trials})"
        table.add_row(
            f"{row.variant} *" if row.best else row.variant,
            "" if row.parameters is None else f"{row.parameters:,}",
            "" if row.macs is None else f"{row.macs / 1e6:,.1f}",
            "" if row.receptive_field is None else str(row.receptive_field),
            accuracy,
            f"{row.trials}/{row.trials + missing}" if missing else str(row.trials),
            reached,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            style="bold green" if row.best else None,
        )
    table.caption = "* best mean test accuracy over n seeds; ± standard deviation; seconds per trial"
    table.caption_justify = "left"
    return table


def settings_table(comparison: Comparison) -> Group | None:
    """The searched settings with which each variant is compared, or None without a search."""
    paths = sorted({path for row in comparison.rows for path in row.settings})
    if not paths:
        return None
    table = _table("")
    table.add_column("variant", no_wrap=True)
    for name in short_names(paths).values():
        table.add_column(name, justify="right", overflow="fold")
    for row in comparison.rows:
        table.add_row(row.variant, *(shown(row.settings.get(path, "")) for path in paths))
    return Group(Text("Best settings of each variant, by validation accuracy", "bold"), table)


def shown(value: Any) -> str:
    """A searched setting for display: floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trouble_table(trials: Sequence[TrialRow]) -> Table | None:
    """The incomplete trials and the reasons, or None."""
    odd = [trial for trial in trials if trial.status != "complete"]
    if not odd:
        return None
    table = Table(title="Incomplete trials", title_justify="left", header_style="bold", title_style="bold")
    for name in ("trial", "status", "epochs", "reason"):
        table.add_column(name, overflow="fold")
    for trial in odd:
        style = STYLES.get(trial.status)
        table.add_row(trial.trial, Text(trial.status, style=style or ""), str(trial.epochs), Text(trial.reason))
    return table


def difference_table(comparison: Comparison) -> Group | None:
    """How far each variant is behind the best, and whether that is significant; None without any interval."""
    if comparison.evidence == "none":
        return None
    table = _table(f"Behind {comparison.differences[0].best}")
    table.add_column("variant", no_wrap=True)
    advice = ["seeds needed"] if comparison.evidence == "undecided" else []
    for name in ("points", f"{100 * LEVEL:g} % interval", "significant", *advice):
        table.add_column(name, justify="right", no_wrap=True)
    for d in comparison.differences:
        seeds = "" if d.told_apart or d.low is None else str(d.seeds_to_tell or f"> {MOST_SEEDS}")
        table.add_row(
            d.variant,
            f"{100 * d.difference:.2f}",
            interval(d),
            "unknown" if d.low is None else "yes" if d.told_apart else "no",
            *([seeds] if advice else []),
            style=None if d.told_apart else "yellow",
        )
    chance = "seeds and test images" if any(d.images for d in comparison.differences) else "seeds"
    return Group(table, Text(f"simultaneous intervals over {chance}; see docs/verdict.md", "table.caption"))


def _table(title: str) -> Table:
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
    )
