"""The trials of an experiment as far as they are known: some depend on how earlier ones ended."""

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.experiment.plan import Broken, make_plan
from orchestrator.experiment.stages import LaterStages
from orchestrator.records import TrialResult
from orchestrator.spec import Experiment, TrialSpec


class Proposals:
    """The trials of ``experiment``; what a search draws keeps to the contract that ``broken`` tells of."""

    def __init__(self, experiment: Experiment, dataset_digest: str = "", broken: Broken = lambda _: ()) -> None:
        plan = make_plan(experiment, dataset_digest, broken)
        self.experiment = plan.experiment
        self.notes = plan.notes
        self.rejected = plan.rejected_samples
        self.later = LaterStages(plan.experiment)
        self._trials = list(plan.trials)

    def remember(self, log: Path, written: Callable[[Path], object] = lambda _: None) -> None:
        """Keep what is suggested from now on in the file ``log``, and stand by what it holds already.

        ``written`` is told of the file after each line.
        """
        self.later.remember(log, written)

    def trials(self, results: Mapping[str, TrialResult]) -> list[TrialSpec]:
        """Every trial that is known once ``results`` are, by the names of ended trials; with more, none is missing."""
        return [*self._trials, *self.later.trials(self._trials, results)]
