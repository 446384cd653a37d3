"""The comparison of a launch for display and for notebooks: the verdict in words, as tables and as a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison import variants
from orchestrator.reporting.comparison.rounds import Rounds
from orchestrator.spec import VerdictSettings
from orchestrator.tracking.predictions import Predictions
from orchestrator.tracking.read import Judging

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from orchestrator.reporting.comparison.context import ComparisonContext


@dataclass(frozen=True, repr=False)
class Comparison(variants.Comparison):
    """All variants, best first, and the verdict on them; accuracies and differences are fractions."""

    experiment: str = ""
    launch: str = ""
    trials: tuple[TrialRow, ...] = ()

    @classmethod
    def of(
        cls, computed: variants.Comparison, experiment: str = "", launch: str = "", trials: tuple[TrialRow, ...] = ()
    ) -> "Comparison":
        """The same comparison, of these trials."""
        known = {field.name: getattr(computed, field.name) for field in fields(computed)}
        return cls(**known, experiment=experiment, launch=launch, trials=trials)

    @property
    def leaders(self) -> list[str]:
        """The best variant, and every one that is not told apart from it."""
        return list(self.verdict.leaders)

    def table(self) -> "pd.DataFrame":
        """One row per variant, best first."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows], columns=[f.name for f in fields(variants.VariantRow)])

    def pairs(self) -> "pd.DataFrame":
        """One row per compared pair; columns as in ``pairs`` of ``compare --json``."""
        import pandas as pd

        from orchestrator.verdict import Pair

        rows = [pair.to_dict() for pair in self.verdict.pairs]
        return pd.DataFrame(rows, columns=[f.name for f in fields(Pair)])

    def plot(self) -> "Figure":
        """Each trial, the mean of each variant with its interval, and the differences to the best or the baseline."""
        from orchestrator.reporting.comparison.overview import draw_overview

        return draw_overview(self.context())

    def context(self) -> "ComparisonContext":
        """What figures and pages are made from, as far as it is known here."""
        from orchestrator.reporting.comparison.context import ComparisonContext

        return ComparisonContext(
            experiment=self.experiment,
            launch=self.launch,
            verdict=self.verdict,
            rows=self.rows,
            trials=self.trials,
            costs=variants.costs_of(self.rows),
        )

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        """In a notebook: the verdict in words, and its tables."""
        from orchestrator.reporting.comparison.write import notebook_summary

        return notebook_summary(self.context())


def compare_trials(
    experiment: str,
    launch: str,
    rows: Sequence[TrialRow],
    target: float,
    predicted: Mapping[str, Predictions],
    settings: VerdictSettings,
    judging: Judging,
    rounds: Rounds | None,
) -> Comparison:
    """The comparison of a launch's trials by ``settings``; ``predicted``: by run."""
    right = {run: predictions.right for run, predictions in predicted.items()}
    computed = variants.compare(rows, target, right, settings, judging.planned, rounds, judging.caution)
    return Comparison.of(computed, experiment, launch, tuple(rows))
