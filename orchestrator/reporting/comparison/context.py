"""Everything that the page of a launch is made from: plain data, wherever it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from orchestrator import records as keys
from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.variants import VariantRow
from orchestrator.reporting.tables import Table
from orchestrator.selection import chosen_trials, measured_trials
from orchestrator.verdict.result import VariantScore, Verdict

Classes = NDArray[np.int64]  # (N,), by test image
Right = NDArray[np.bool_]  # (n, N), by seed and test image


@dataclass(frozen=True)
class CaptionedTable:
    """A finished table of the page, and a sentence on how to read it."""

    table: Table
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class ComparisonContext:
    """One launch with its verdict; what is not known is None or empty, and left out of the page."""

    experiment: str
    launch: str
    verdict: Verdict
    rows: Sequence[VariantRow]  # one per variant, best first
    trials: Sequence[TrialRow]
    description: str = ""
    left_out: Sequence[str] = ()  # trials that are no longer in the experiment file
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by name and variant, as judged
    curves: Mapping[str, Mapping[int, Mapping[str, float]]] = field(default_factory=dict)  # by trial and epoch
    published: Sequence[tuple[int, float]] = ()  # (epoch, published test accuracy as a fraction)
    predicted: Mapping[tuple[str, int], Classes] = field(default_factory=dict)  # by variant and seed
    labels: Classes | None = None  # true classes of the test split
    classes: Sequence[str] = ()  # their names
    images: Tensor | None = None  # (N, C, H, W) uint8, the test split; None where the dataset is not at hand
    more_images: str = ""  # the shell command that makes the page with images, where there are none
    rounds: Sequence[CaptionedTable] = ()  # of a launch that trains until its variants are decided
    search: Sequence[CaptionedTable] = ()  # what a search tried
    spending: Sequence[CaptionedTable] = ()  # where time and money went
    more_evidence: str = ""  # the shell command that trains more seeds

    @cached_property
    def measured(self) -> list[VariantScore]:
        """The variants with a test accuracy, best first."""
        return [score for score in self.verdict.variants if score.mean is not None]

    @cached_property
    def variants(self) -> list[str]:
        """All variants, in the order of the rows: their numbers in figures, from 1."""
        return list(dict.fromkeys([*(row.variant for row in self.rows), *(s.variant for s in self.verdict.variants)]))

    @cached_property
    def reference(self) -> str | None:
        """The variant that the others are held against: the baseline, or else the best; None without any."""
        best = self.measured[0].variant if self.measured else None
        return self.verdict.baseline or best

    @cached_property
    def leading(self) -> frozenset[str]:
        """The best and all that are not told apart from it; with a baseline, those that are better than it."""
        if self.verdict.baseline is None:
            return frozenset(self.verdict.leaders)
        pairs = self.verdict.pairs
        return frozenset(pair.a for pair in pairs if pair.told_apart and pair.a != self.verdict.baseline)

    @cached_property
    def compared(self) -> dict[str, list[TrialRow]]:
        """By variant, the trials that are compared: complete, evaluated, and with a seed that the verdict is about."""
        seeds = {score.variant: score.seeds for score in self.verdict.variants}
        return {
            variant: [t for t in measured_trials(mine) if (only := seeds.get(variant)) is None or t.seed in only]
            for variant, mine in chosen_trials(self.trials).items()
        }

    def seeds(self, variant: str) -> list[float]:
        """The test accuracies of the variant's compared trials, as fractions."""
        return [t.test_accuracy for t in self.compared.get(variant, ()) if t.test_accuracy is not None]

    @cached_property
    def evaluated(self) -> str:
        """The split whose accuracy is known by epoch: ``val``, or ``test`` in the published protocol."""
        metrics = {name for epochs in self.curves.values() for measured in epochs.values() for name in measured}
        return "test" if keys.TEST_ACCURACY in metrics and keys.VAL_ACCURACY not in metrics else "val"

    @cached_property
    def right(self) -> dict[str, Right]:
        """By variant, best first, which images each seed classified correctly; only with predictions of all seeds."""
        if self.labels is None:
            return {}
        found = {}
        for score in self.measured:
            known = [self.predicted.get((score.variant, trial.seed)) for trial in self.compared.get(score.variant, ())]
            whole = [classes for classes in known if classes is not None and len(classes) == len(self.labels)]
            if whole and len(whole) == len(known):
                found[score.variant] = np.stack(whole) == self.labels
        return found
