"""The numbers behind a launch's page as tables: variants, pairs, trials."""

from collections.abc import Sequence

from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.front import cost_name, known_costs
from orchestrator.reporting.states import state_word
from orchestrator.reporting.tables import Cell, Table
from orchestrator.text import setting, settings_in_words, short_names


def variants_table(context: ComparisonContext) -> Table:
    """One row per variant, best first; accuracies and bounds are fractions."""
    verdict, rows = context.verdict, {row.variant: row for row in context.rows}
    further = {
        cost: values for cost, values in known_costs(context).items() if cost not in ("parameters", "macs", "seconds")
    }
    lines: list[list[Cell]] = []
    for score in verdict.variants:
        row = rows.get(score.variant)
        drawn = None if row is None else settings_in_words(row.settings) or None
        lines.append([
            score.variant, drawn, score.n, score.mean, score.sd, score.low, score.high,
            "yes" if score.variant in context.leading else None,
            "yes" if score.variant == verdict.baseline else None,
            *([None] * 9 if row is None else [
                row.parameters, row.macs, row.receptive_field, row.epochs_to_target, row.seconds, row.failed or None,
                row.stopped or None, row.interrupted or None, row.running or None,
            ]),
            *(values.get(score.variant) for values in further.values()),
        ])  # fmt: skip
    level = f"{100 * verdict.confidence:g} %"
    leading = "leading" if verdict.baseline is None else "better than the baseline"
    columns = (
        "variant", "settings", "n", "mean test accuracy", "standard deviation", f"lower {level}", f"upper {level}",
        leading, "baseline", "parameters", "MACs", "receptive field", "epochs to target", "seconds per trial",
        "failed", "stopped early", "interrupted", "still running", *map(cost_name, further),
    )  # fmt: skip
    return _filled("variants", "Variants", columns, lines)


def pairs_table(context: ComparisonContext) -> Table:
    """One row per pair, as judged; differences and bounds are fractions."""
    lines: list[list[Cell]] = [
        [
            pair.a, pair.b, str(pair.decision), pair.difference, pair.low, pair.high, pair.p, pair.p_adjusted,
            pair.p_sign_flip, pair.p_a_beats_b, pair.n, "by seed" if pair.paired else "no", pair.detectable,
            pair.more_seeds, pair.low_new_images, pair.high_new_images, pair.low_both, pair.high_both, pair.reason,
        ]
        for pair in context.verdict.pairs
    ]  # fmt: skip
    columns = (
        "A", "B", "decision", "A minus B", "low", "high", "p", "p adjusted", "p sign flip", "P(A > B)", "n", "paired",
        "detectable", "more seeds", "low, new images", "high, new images", "low, both", "high, both", "reason",
    )  # fmt: skip
    return _filled("pairs", "Pairs", columns, lines)


def published_table(context: ComparisonContext) -> Table:
    """The published curve, in percent, as a file that ``published.curve`` can name; without rows if there is none."""
    points = [(epoch, 100 * accuracy) for epoch, accuracy in context.published]
    return Table("published_curve", "Published test accuracy (%)", ("epoch", "test_accuracy"), points)


def trials_table(context: ComparisonContext) -> Table:
    """One row per trial, in the order of the plan."""
    paths = sorted({path for trial in context.trials for path in trial.settings})
    names = short_names(paths)
    lines: list[list[Cell]] = [
        [
            t.trial, t.stage or None, state_word(t.status), *(_cell(t.settings.get(path)) for path in paths), t.epochs,
            t.val_accuracy, t.test_accuracy, t.seconds, t.run_id, t.reason or None,
        ]
        for t in context.trials
    ]  # fmt: skip
    columns = (
        "trial", "stage", "status", *names.values(), "epochs", "validation accuracy", "test accuracy", "seconds",
        "MLflow run", "reason",
    )  # fmt: skip
    return _filled("trials", "Trials", columns, lines)


def _cell(value: object) -> str | None:
    return None if value is None else setting(value)


def _filled(name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """The table without empty columns."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return Table(name, title, tuple(columns[i] for i in kept), [[row[i] for i in kept] for row in rows])
