"""A launch read back from MLflow, and the outputs of its comparison: a page and a figure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.records import Status, TrialRow
from orchestrator.reporting.comparison.rounds import launch_rounds
from orchestrator.reporting.comparison.spending import Share, Spent, spending, to_dict, trained_seconds
from orchestrator.reporting.states import state_word
from orchestrator.selection import chosen_trials, complete_trials, measured_trials, representative, search_goes_on
from orchestrator.spec import VerdictSettings, variant_label
from orchestrator.text import counted, first_line
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.predictions import Predictions, read_predictions
from orchestrator.tracking.read import Judging, find_launch, name_launch, read_epochs, read_judging
from orchestrator.tracking.store import questions
from orchestrator.tracking.trial_rows import read_every_trial
from orchestrator.verdict.arguments import check_baseline
from orchestrator.workflow.comparison import Comparison, compare_trials
from orchestrator.workflow.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

GIVEN_LATER = (
    "Baseline, margin or confidence are not those of the experiment file but were chosen after the results: wrong "
    "decisions may be more frequent."
)


@dataclass(frozen=True)
class Results:
    """One launch, read back from MLflow: its trials, and the comparison of its variants. Accuracies are fractions.

    A snapshot of MLflow's content; call ``orc.load`` again for a launch that is still running.
    """

    experiment: str
    launch: str
    parent_run_id: str
    rows: list[TrialRow]  # in the order of the plan
    comparison: Comparison
    share: Share = field(default_factory=Share)  # what one trial reserved, and its price
    judging: Judging = field(default=Judging(VerdictSettings()), repr=False)
    left_out_rows: tuple[TrialRow, ...] = field(default=(), repr=False)  # of trials that are no longer in the plan
    predicted: Mapping[str, Predictions] = field(default_factory=dict, repr=False, compare=False)  # by run
    client: "MlflowClient | None" = field(default=None, repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether every trial of the plan has ended and been evaluated, none failed, and no further one follows.

        Further trials follow while a search goes on, while it has not been confirmed, or while another round is due.
        """
        if not self.is_trained or self.failures or not self.rows:
            return False
        compared = [row for mine in chosen_trials(self.rows).values() for row in complete_trials(mine)]
        rounds = self.comparison.rounds
        follows = rounds is not None and rounds.next != ()
        return not follows and len(measured_trials(compared)) == len(compared)

    @property
    def is_trained(self) -> bool:
        """Whether every trial of the plan has ended, failed ones included, and no search goes on."""
        left = [row for row in self.rows if row.status in ("running", Status.INTERRUPTED)]
        begun = len(self.rows) >= (self.judging.planned or 0)
        return begun and not left and not self.judging.searching and not search_goes_on(self.rows)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The trials that are no longer in the experiment file: recorded, but not compared."""
        return tuple(row.trial for row in self.left_out_rows)

    @property
    def spent(self) -> tuple[Spent, ...]:
        """What the launch spent, by variant and, last, on trials that were left out."""
        return spending(self.rows, self.share, self.left_out_rows)

    @property
    def failures(self) -> list[TrialRow]:
        """The trials that failed; their rows say why."""
        return [row for row in self.rows if row.status == Status.FAILED]

    def trials(self) -> "pd.DataFrame":
        """One row per trial; the columns are the keys of ``run --json``."""
        import pandas as pd

        names = [f.name for f in fields(TrialRow)]
        return pd.DataFrame([asdict(row) for row in self.rows], columns=names)

    def epochs(self) -> "pd.DataFrame":
        """One row per trial and epoch, with all of its metrics; includes running trials."""
        import pandas as pd

        with questions(client := self.store()):
            rows = [
                {"trial": row.trial, "epoch": epoch, **metrics}
                for row in self.rows
                for epoch, metrics in sorted(read_epochs(client, row.run_id).items())
            ]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["trial", "epoch"])

    def predictions(self) -> "pd.DataFrame":
        """One row per evaluated trial and test image: ``trial``, ``image``, ``label`` and ``predicted``, as numbers."""
        import pandas as pd

        measured = [trial for row, trial in zip(self.rows, self, strict=True) if row.test_accuracy is not None]
        tables = [trial.predictions().assign(trial=trial.name) for trial in measured]
        columns = ["trial", "image", "label", "predicted"]
        return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)

    def best(self, variant: str | None = None) -> Trial:
        """The complete trial with the best validation accuracy, of ``variant`` or of all; test accuracy is not used.

        Raises RequestError if there is none.
        """
        labels = list(dict.fromkeys(row.variant for row in self.rows))
        if variant is not None and variant not in labels:
            raise RequestError(f"{self.experiment} has no variant {variant!r}; it has: {', '.join(labels) or 'none'}")
        chosen = chosen_trials([row for row in self.rows if variant in (None, row.variant)])
        found = representative([row for mine in chosen.values() for row in mine])
        if found is None:
            raise RequestError(f"no trial of {variant or self.experiment} is complete")
        return self._trial(found)

    def compare(
        self, baseline: str | None = None, margin: float | None = None, confidence: float | None = None
    ) -> Comparison:
        """The comparison of the variants, best first, as ``compare`` prints it.

        What is not given is as the experiment file says: by default all pairs, no ``margin`` (a difference of accuracy
        as a fraction, below which variants count as equivalent), and a ``confidence`` of 0.95. Raises RequestError if
        a value is not possible, or if the launch trains in rounds, which its own settings have decided.
        """
        planned = self.judging.verdict.baseline
        if baseline is not None and planned is not None and variant_label(baseline) == variant_label(planned):
            baseline = planned
        given: dict[str, Any] = {"baseline": baseline, "margin": margin, "confidence": confidence}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            settings = replace(self.judging.verdict, **given)
        except (ValueError, TypeError) as problem:
            raise RequestError(f"the verdict cannot be reached so: {first_line(problem)}") from problem
        if settings == self.judging.verdict:
            return self.comparison
        if self.judging.verdict.until_decided:
            raise RequestError(
                f"{' and '.join(given)}: {self.experiment} trains in rounds, and its own settings "
                f"({self.judging.verdict.in_words()}) decided after each of them who got more seeds. By others no "
                "interval would hold at every look. Compare it without them, or train a launch of its own with other "
                "settings and with seeds that no launch has had"
            )
        if baseline is not None:  # that of the experiment file need not have begun
            check_baseline(variant_label(baseline), [row.variant for row in self.comparison.rows])
        return compare_trials(
            self.experiment,
            self.launch,
            self.rows,
            self.comparison.target,
            self.predicted,
            settings,
            replace(self.judging, caution=f"{self.judging.caution} {GIVEN_LATER}".strip()),
            self.comparison.rounds,
        )

    def judged_by(self, baseline: str | None, margin: float | None, confidence: float | None) -> "Results":
        """The same results, compared as :meth:`compare` compares them."""
        return replace(self, comparison=self.compare(baseline, margin, confidence))

    def replication(self, confidence: float = 0.95) -> "pd.DataFrame":
        """One row per published accuracy that the launch replicates; columns as the keys of ``replication --json``.

        Raises RequestError if its experiment names none.
        """
        import pandas as pd

        from orchestrator.workflow.replication import read_replications

        with questions(client := self.store()):
            rows = read_replications(client, [self.experiment], self.launch, confidence)
        return pd.DataFrame([row.to_dict() for row in rows])

    def to_dict(self) -> dict[str, Any]:
        """The document of ``--json``."""
        return {
            "experiment": self.experiment,
            "launch": self.launch,
            "parent_run_id": self.parent_run_id,
            "trials": [asdict(row) for row in self.rows],
            "verdict": self.comparison.to_dict(),
            "spending": to_dict(self.spent),
            "left_out": list(self.left_out),
        }

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> "Iterator[Trial]":
        return map(self._trial, self.rows)

    def __repr__(self) -> str:
        counts = Counter(row.status for row in self.rows)
        states = ", ".join(f"{count} {state_word(status)}" for status, count in counts.items())
        return f"{self.experiment}, launch {self.launch}: {counted(len(self), 'trial')} ({states})"

    def _repr_html_(self) -> str:
        """In a notebook: the verdict, the variants and the trials."""
        shown = self.trials().dropna(axis="columns", how="all").drop(columns=["run_id", "settings"], errors="ignore")
        table = shown.to_html(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")
        return f"<p>{escape(repr(self))}</p>{self.comparison._repr_html_()}{table}"

    def _trial(self, row: TrialRow) -> Trial:
        return Trial(row.trial, run_id=row.run_id, client=self.store())

    def store(self) -> "MlflowClient":
        """The client of the store that this was read from. Raises RequestError if there is none."""
        if self.client is None:
            raise RequestError(f"{self.experiment} was not read from a store")
        return self.client


def read_results(
    client: "MlflowClient", experiment: str, launch: str | None = None, target: float | None = None
) -> Results:
    """Read a launch and compare its variants; ``target`` (fraction) None means the launch's own."""
    close_abandoned(client, experiment)
    parent, _, _ = find_launch(client, experiment, launch)
    return read_launch(client, parent, target)


def read_launch(client: "MlflowClient", parent_run_id: str, target: float | None = None) -> Results:
    """The same of the launch with this run, whatever its experiment is called by now."""
    experiment, launch, own_target = name_launch(client, parent_run_id)
    judging = read_judging(client, parent_run_id)
    rows, left_out = read_every_trial(client, parent_run_id, target)
    predicted = read_predictions(client, [trial for mine in chosen_trials(rows).values() for trial in mine])
    share = Share.recorded(judging.share, judging.metrics, rows)
    gpu_seconds = None if share.gpus is None else share.gpus * trained_seconds(rows)
    rounds = launch_rounds(rows, judging.verdict, gpu_seconds)
    comparison = compare_trials(
        experiment, launch, rows, target or own_target, predicted, judging.verdict, judging, rounds
    )
    return Results(
        experiment, launch, parent_run_id, rows, comparison, share, judging, tuple(left_out), predicted, client
    )
