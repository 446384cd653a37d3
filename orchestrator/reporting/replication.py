"""Published accuracies against the seeds that replicate them: what is said of each, and the table for a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from orchestrator.records import TrialRow
from orchestrator.reporting.terminal_table import bare_table
from orchestrator.selection import complete_trials
from orchestrator.spec import Published
from orchestrator.verdict import Replication, replicate
from orchestrator.verdict.replication import Outcome

STYLES = {Outcome.REPLICATED: "green", Outcome.BETTER: "green", Outcome.NOT_REPLICATED: "red"}
LONGEST_NAME = 28  # characters of an experiment's name in one line of 80
MEANING = "n seeds; last: of the last epoch; best: of the best epoch on the test split"


@dataclass(frozen=True)
class ReplicationRow:
    """One published accuracy, ``last`` or ``best``, against one launch."""

    experiment: str
    launch: str
    parent_run_id: str
    variant: str
    figure: str
    epochs: int | None  # most of any seed
    scores: Mapping[int, float]  # by seed, the same figure of this launch (fraction)
    result: Replication

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "experiment": self.experiment,
            "launch": self.launch,
            "parent_run_id": self.parent_run_id,
            "variant": self.variant,
            "figure": self.figure,
            "epochs": self.epochs,
            "scores": {str(seed): score for seed, score in self.scores.items()},
            **self.result.to_dict(),
        }


def replication_rows(
    launch: tuple[str, str, str],
    published: Published,
    trials: Sequence[TrialRow],
    best: Mapping[str, float],
    confidence: float = 0.95,
) -> list[ReplicationRow]:
    """One row for each published accuracy.

    ``launch``: experiment, launch and the launch's run. ``best``: by run, the best test accuracy of any epoch.
    """
    complete = complete_trials(trials)
    measured = {
        "last": {t.seed: t.test_accuracy for t in complete if t.test_accuracy is not None},
        "best": {t.seed: best[t.run_id] for t in complete if t.run_id in best},
    }
    variant = trials[0].variant if trials else ""
    epochs = max((trial.epochs for trial in complete), default=None)
    return [
        ReplicationRow(
            *launch,
            variant,
            figure,
            epochs,
            measured[figure],
            replicate(list(measured[figure].values()), accuracy, published.margin, confidence),
        )
        for figure, accuracy in published.figures.items()
    ]


def replication_table(rows: Sequence[ReplicationRow]) -> Table:
    """One line per published accuracy, those of an experiment together; percentages, for 80 columns."""
    confidence = rows[0].result.confidence if rows else 0.95
    table = bare_table("Replication of published accuracies", MEANING)
    table.add_column("experiment", overflow="fold", max_width=LONGEST_NAME)
    table.add_numbers("n", "published\n± margin %", "mean\n%", f"{100 * confidence:g} %\ninterval")
    table.add_column("decision", no_wrap=True)
    for before, row in zip([None, *rows], rows, strict=False):
        result = row.result
        if before is None or before.parent_run_id != row.parent_run_id:
            table.add_row(row.experiment)
        table.add_row(
            f"  {row.figure}",
            str(result.n),
            f"{100 * result.published:.2f} ± {100 * result.margin:.2f}",
            "" if result.mean is None else f"{100 * result.mean:.2f}",
            "" if result.low is None or result.high is None else f"{100 * result.low:.2f} to {100 * result.high:.2f}",
            str(result.decision),
            style=STYLES.get(result.decision),
        )
    return table


def reasons(rows: Sequence[ReplicationRow]) -> list[str]:
    """Why nothing could be said of some rows: one line for each reason."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.result.reason is not None:
            names = found.setdefault(row.result.reason, [])
            if row.experiment not in names:
                names.append(row.experiment)
    return [f"{', '.join(names)}: {reason}" for reason, names in found.items()]
