"""The page of a comparison: the verdict in words, the figure, and the numbers behind both."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from orchestrator.records import TrialRow, short_names
from orchestrator.reporting import html
from orchestrator.reporting.comparison.figure import draw_comparison
from orchestrator.reporting.comparison.tables import shown
from orchestrator.reporting.comparison.variants import Comparison
from orchestrator.reporting.comparison.wording import sentence
from orchestrator.reporting.figures import to_png
from orchestrator.reporting.tables import Cell, Table

CAPTION = (
    "Left: one dot per trial and a bar at the mean, best variant on top. Right: how far each variant is behind the "
    "best, with simultaneous intervals; a difference whose interval contains zero is not significant."
)


def comparison_page(name: str, launch: str, comparison: Comparison, trials: Sequence[TrialRow]) -> str:
    """The HTML text for the launch ``launch`` of the experiment ``name``; all user text is escaped."""
    image = html.FigureImage("comparison", "Comparison", CAPTION, to_png(draw_comparison(comparison, trials)))
    return html.document(
        f"{name}: comparison",
        [
            f"<h1>{escape(name)}</h1>",
            f'<p class="sub">launch {escape(launch)}</p>',
            f"<p>{escape(sentence(comparison)).replace(' %', '&nbsp;%')}</p>",
            html.figure(image),
            html.table(_variants(comparison), opened=True),
            html.table(_differences(comparison), opened=True) if comparison.differences else "",
            html.table(_trials(trials)),
        ],
    )


def comparison_tables(comparison: Comparison) -> str:
    """The verdict in words and its tables as HTML, for a notebook."""
    tables = [_variants(comparison), *([_differences(comparison)] if comparison.differences else [])]
    return f"<p>{escape(sentence(comparison))}</p>" + "".join(html.plain_table(table) for table in tables)


def _variants(comparison: Comparison) -> Table:
    rows = [
        (
            r.variant,
            _settings(r.settings),
            r.parameters,
            r.macs,
            r.receptive_field,
            r.test_accuracy,
            r.spread,
            r.trials,
            r.failed + r.stopped,
            r.running or None,
            r.epochs_to_target,
            r.seconds,
        )
        for r in comparison.rows
    ]
    columns = (
        "variant",
        "settings",
        "parameters",
        "MACs",
        "receptive field",
        "test accuracy",
        "standard deviation",
    )
    reached = f"epochs to {comparison.target:g}"
    return _filled(
        "variants",
        "Variants",
        (*columns, "n", "failed or stopped", "still running", reached, "seconds per trial"),
        rows,
    )


def _settings(drawn: Mapping[str, Any]) -> str | None:
    names = short_names(sorted(drawn))
    return ", ".join(f"{name} {shown(drawn[path])}" for path, name in names.items()) or None


def _differences(comparison: Comparison) -> Table:
    told = {True: "yes", False: "no"}
    rows = [
        (d.variant, d.difference, d.low, d.high, told[d.told_apart] if d.low is not None else None, d.seeds_to_tell)
        for d in comparison.differences
    ]
    columns = ("variant", "behind the best", "low", "high", "significant", "seeds needed")
    return _filled("differences", "Differences", columns, rows)


def _trials(trials: Sequence[TrialRow]) -> Table:
    rows = [
        (t.trial, t.status, t.epochs, t.val_accuracy, t.test_accuracy, t.seconds, t.run_id, t.reason) for t in trials
    ]
    columns = ("trial", "status", "epochs", "validation accuracy", "test accuracy", "seconds", "MLflow run", "reason")
    return Table("trials", "Trials", columns, rows)


def _filled(name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """The table without empty columns."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return Table(name, title, tuple(columns[i] for i in kept), [[row[i] for i in kept] for row in rows])
