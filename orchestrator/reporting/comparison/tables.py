"""The result of a launch as tables for a terminal with 80 columns."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.records import Status, TrialRow
from orchestrator.reporting.comparison.variants import Comparison, VariantRow
from orchestrator.reporting.states import STYLES
from orchestrator.reporting.terminal_table import FittingTable, bare_table, terminal_table
from orchestrator.text import large, setting, short_names
from orchestrator.verdict import Decision, Pair, interval_in_points

_STYLE = {Decision.UNDECIDED: "yellow", Decision.EQUIVALENT: "cyan"} | dict.fromkeys(
    (Decision.BETTER, Decision.SLIGHTLY_BETTER), ""
)


def comparison_table(comparison: Comparison) -> Table:
    """One row per variant, best first: its accuracy, and how it compares with the best, or with the baseline."""
    level = f"{100 * comparison.verdict.confidence:g} %\ninterval"
    table = bare_table("Comparison")
    table.add_column("variant", no_wrap=True)
    table.add_numbers("test\nacc. %", level, "n")
    compared = bool(comparison.verdict.pairs)
    baseline = comparison.verdict.baseline
    if compared:
        table.add_numbers("above\nbaseline" if baseline else "behind\nbest", level)
        table.add_column("decision")
    for row in comparison.rows:
        missing = row.failed + row.stopped + row.running + row.interrupted
        mean, (low, high) = row.test_accuracy, row.interval or (None, None)
        table.add_row(
            f"{row.variant} *" if row.best else row.variant,
            "" if mean is None else f"{100 * mean:.2f}",
            "" if low is None else interval_in_points(low, high),
            f"{row.trials}/{row.trials + missing}" if missing else str(row.trials),
            *(_against(comparison, row) if compared else ()),
            style="bold green" if row.best else None,
        )
    said = "* best mean test accuracy over n seeds"
    if comparison.verdict.rounds is not None:
        said += ", of those not shown to be worse"
    table.caption = f"{said}; differences in points, intervals simultaneous" if compared else said
    return table


def _against(comparison: Comparison, row: VariantRow) -> tuple[str, str, Text]:
    """How ``row`` compares with the reference: difference, interval, and the decision from the row's point of view."""
    pair = comparison.against(row, comparison.reference)
    if pair is None:
        is_baseline = row.variant == comparison.verdict.baseline
        return "", "", Text("baseline" if is_baseline else "")
    ahead = pair.a == row.variant
    sign = 1 if ahead == bool(comparison.verdict.baseline) else -1  # above the baseline, behind the best
    low, high = (pair.low, pair.high) if sign > 0 else (pair.high, pair.low)
    bounds = "unknown" if low is None or high is None else interval_in_points(sign * low, sign * high)
    return f"{100 * sign * pair.difference + 0.0:.2f}", bounds, Text(_decision(pair, ahead), _STYLE[pair.decision])


def _decision(pair: Pair, ahead: bool) -> str:
    better = "better" if ahead else "worse"
    words = {Decision.BETTER: better, Decision.SLIGHTLY_BETTER: f"slightly {better}"}
    return words.get(pair.decision, str(pair.decision))


def cost_table(comparison: Comparison) -> Table:
    """One row per variant, in the same order: its size, and what it took to train it."""
    table = bare_table("Cost")
    table.add_column("variant", no_wrap=True)
    target = f"epochs\nto {100 * comparison.target:g} %"
    table.add_numbers("parameters", "MACs", "receptive\nfield", target, "seconds\nper trial")
    for row in comparison.rows:
        reached = "" if row.epochs_to_target is None else f"{row.epochs_to_target:g}"
        if row.epochs_to_target is not None and row.reached_target < row.trials:
            reached += f" ({row.reached_target}/{row.trials})"
        table.add_row(
            row.variant,
            "" if row.parameters is None else f"{row.parameters:,}",
            "" if row.macs is None else large(row.macs),
            "" if row.receptive_field is None else str(row.receptive_field),
            reached,
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
    return table


def settings_table(comparison: Comparison) -> Group | None:
    """The searched settings with which each variant is compared, or None without a search."""
    paths = sorted({path for row in comparison.rows for path in row.settings})
    if not paths:
        return None
    table = bare_table("")
    table.add_column("variant", no_wrap=True)
    for name in short_names(paths).values():
        table.add_column(name, justify="right", overflow="fold")
    for row in comparison.rows:
        table.add_row(row.variant, *(setting(row.settings.get(path, "")) for path in paths))
    return Group(Text("Best settings of each variant, by validation accuracy", "bold"), table)


def stopped_table(trials: Sequence[TrialRow]) -> Table | None:
    """The trials that the scheduler stopped early, one row per variant, or None; they have ended as they should."""
    rows = []
    for variant in dict.fromkeys(trial.variant for trial in trials):
        mine = [trial for trial in trials if trial.variant == variant]
        stopped = [trial for trial in mine if trial.status == Status.STOPPED]
        if stopped:
            least, most = min(t.epochs for t in stopped), max(t.epochs for t in stopped)
            best = max((t.val_accuracy for t in stopped if t.val_accuracy is not None), default=None)
            accuracy = "" if best is None else f"{100 * best:.2f}"
            epochs = str(least) if least == most else f"{least} to {most}"
            rows.append((variant, str(len(stopped)), str(len(mine)), epochs, accuracy))
    columns = ("variant", "stopped", "of\ntrials", "after\nepoch", "best validation\naccuracy %")
    return terminal_table("Stopped early by the scheduler", columns, rows) if rows else None


def trouble_table(trials: Sequence[TrialRow]) -> Table | None:
    """The incomplete trials and the reasons, or None; to be stopped early is no trouble."""
    odd = [trial for trial in trials if trial.status not in (Status.COMPLETE, Status.STOPPED)]
    if not odd:
        return None
    table = FittingTable(title="Incomplete trials", title_justify="left", header_style="bold", title_style="bold")
    table.add_column("trial", no_wrap=True)
    for name in ("status", "epochs", "reason"):
        table.add_column(name, overflow="fold")
    for trial in odd:
        style = STYLES.get(trial.status)
        table.add_row(trial.trial, Text(trial.status, style=style or ""), str(trial.epochs), Text(trial.reason))
    return table
