"""The trials of an experiment as far as they are known: some depend on how earlier ones ended."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.experiment.stages import LaterStages
from orchestrator.experiment.suggestions.group import Broken
from orchestrator.experiment.suggestions.stage import PlainStage, SearchStage, Stage
from orchestrator.experiment.trials import with_threads
from orchestrator.records import TrialResult
from orchestrator.spec import Experiment, TrialSpec


class Proposals:
    """The trials of an experiment, as far as they are known: some depend on how earlier ones ended.

    ``trainer.threads: auto`` becomes a number in ``experiment``, and ``resources.gpus: auto`` becomes 0 if every trial
    is to train on the CPU. Raises ExperimentError with every path that cannot be searched, or if no draw meets the
    contract: a draw for which ``broken`` returns anything for any variant that is trained with it is replaced.
    """

    def __init__(self, experiment: Experiment, dataset_digest: str = "", broken: Broken = lambda _: ()) -> None:
        experiment = with_threads(experiment)
        self._first: Stage
        if experiment.search is None:
            self._first = PlainStage(experiment, dataset_digest)
        else:
            self._first = SearchStage(experiment, experiment.search, dataset_digest, broken)
        if experiment.resources.gpus == "auto" and self._on_the_cpu(experiment):
            experiment = replace(experiment, resources=replace(experiment.resources, gpus=0.0))
        self.experiment = experiment
        self.later = LaterStages(experiment)

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""
        return self._first.notes

    @property
    def rejected(self) -> int:
        """Draws that broke the contract and were drawn again, so far."""
        return self._first.rejected

    @property
    def listed(self) -> dict[str, dict[str, str]]:
        """By variant, the sources of classes that its search may draw in the light of results."""
        return self._first.listed()

    @property
    def more(self) -> bool:
        """Whether further trials may become known; asked after :meth:`trials`."""
        return self._first.more or self.later.wanted

    @property
    def searching(self) -> bool:
        """Whether the search can make further trials known; asked after :meth:`trials`."""
        return self._first.more

    def remember(self, log: Path, written: Callable[[Path], object] = lambda _: None) -> None:
        """Keep what is suggested and decided from now on in the file ``log``, and stand by what it holds already.

        ``written`` is told of the file after each line.
        """
        self._first.remember(log, written)
        self.later.remember(log, written)

    def check_log(self, log: Path) -> None:
        """Raise ExperimentError if what the file ``log`` holds cannot be stood by; nothing is changed."""
        self._first.check_log(log)

    def trials(self, results: Mapping[str, TrialResult]) -> list[TrialSpec]:
        """Every trial that is known once ``results`` are: those of ended trials, by name. With more never fewer.

        In the order of the plan: by stage, sample, seed and variant.
        """
        first = self._first.trials(results)
        return [*first, *self.later.trials(first, results, self._first.more)]

    def _on_the_cpu(self, experiment: Experiment) -> bool:
        """Whether every trial is to train there, also those that are not known yet."""
        known = all(spec.trainer.device == "cpu" for spec in self._first.trials({}))
        searched = experiment.search is not None and "trainer.device" in experiment.search.space
        return known and not (searched and self._first.more)
