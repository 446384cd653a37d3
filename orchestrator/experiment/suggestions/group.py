"""The variants that are trained with the same settings of a search, and what their trials are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.distributions import admitted
from orchestrator.experiment.search_space import Labels, Space
from orchestrator.experiment.suggestions.log import Suggestion
from orchestrator.experiment.trials import Sources, trial_spec
from orchestrator.spec import Experiment, Search, TrialSpec, Variant, variant_label
from orchestrator.spec.trial import SEARCH

if TYPE_CHECKING:
    from orchestrator.contract import ContractCheck

# The contract limits that a trial's network breaks; called for every draw of a search.
Broken = Callable[[TrialSpec], "Sequence[ContractCheck]"]
Missed = Sequence["tuple[str, ContractCheck]"]  # a variant's label and the limit that it breaks


class Group:
    """Some variants of an experiment, all of them or one; ``label`` is that one's, else None.

    A sample is one setting for the whole group. A variant is trained with the part of it that it has: distributions can
    be for some variants only. Where that part was that of an earlier sample, its trials are the earlier ones.
    """

    def __init__(
        self,
        experiment: Experiment,
        search: Search,
        label: str | None,
        dataset_digest: str,
        broken: Broken,
        sources: Sources,
    ) -> None:
        self.experiment, self.search, self.label, self.broken = experiment, search, label, broken
        self.variants = tuple(v for v in experiment.variants if label in (None, v.label))
        self.space: Space = {
            path: distribution
            for path, distribution in search.space.items()
            if any(has(search, path, variant) for variant in self.variants)
        }
        self._digest, self._sources = dataset_digest, sources
        self._seen: dict[str, set[str]] = {v.label: set() for v in self.variants}
        self._labels = {v.label: Labels(list(self.space)) for v in self.variants}
        self._trained: dict[str, dict[str, list[str]]] = {v.label: {} for v in self.variants}
        self._last: tuple[Mapping[str, Any] | None, list[TrialSpec]] = (None, [])
        self.specs: list[tuple[TrialSpec, ...]] = []  # the trials of each sample, by seed and variant
        self.names: list[tuple[str, ...]] = []  # all that a sample is judged by, also the trials of earlier ones

    def consider(self, settings: Mapping[str, Any]) -> Missed | None:
        """What of the contract these settings break, empty if they can be trained; None if they were considered."""
        trials = self._first_trials(settings)
        identities = [(trial.label, trial.identity()) for trial in trials]
        if all(identity in self._seen[label] for label, identity in identities):
            return None
        for label, identity in identities:
            self._seen[label].add(identity)
        return [(trial.label, check) for trial in trials for check in self.broken(trial)]

    def saw(self, settings: Mapping[str, Any]) -> None:
        """Settings that were considered by an earlier process."""
        for trial in self._first_trials(settings):
            self._seen[trial.label].add(trial.identity())

    def add(self, settings: Mapping[str, Any]) -> None:
        """Train these settings, as the next sample."""
        sample = len(self.specs)
        new: list[list[TrialSpec]] = []
        names: list[str] = []
        for variant, first in zip(self.variants, self._first_trials(settings), strict=True):
            own, trained = self.part(variant, settings), self._trained[variant.label]
            identity = first.identity()
            self._seen[variant.label].add(identity)  # a sample from a log has not been considered
            if identity not in trained:
                label = self._labels[variant.label].next(sample, own)
                named = replace(first, sample=sample, settings=own, settings_label=label, stage=SEARCH)
                new.append([replace(named, seed=seed) for seed in self.experiment.seeds])
                trained[identity] = [spec.name for spec in new[-1]]
            names += trained[identity]
        self.specs.append(tuple(spec for of_seed in zip(*new, strict=True) for spec in of_seed))
        self.names.append(tuple(names))

    def fits(self, suggestion: Suggestion) -> bool:
        """Whether it can have been made for this space."""
        if suggestion.settings.keys() != self.space.keys():
            return False
        try:
            return all(admitted(self.space[path], value) == value for path, value in suggestion.settings.items())
        except ValueError:
            return False

    def part(self, variant: Variant, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that ``variant`` has."""
        return {path: value for path, value in settings.items() if has(self.search, path, variant)}

    def _first_trials(self, settings: Mapping[str, Any]) -> list[TrialSpec]:
        """The trials of the first seed, by variant; kept, because what is considered is mostly trained next."""
        if self._last[0] is not settings:
            experiment, seed = self.experiment, self.experiment.seeds[0]
            parts = [(variant, self.part(variant, settings)) for variant in self.variants]
            specs = [trial_spec(experiment, v, seed, self._digest, own, self._sources) for v, own in parts]
            self._last = settings, specs
        return self._last[1]


def has(search: Search, path: str, variant: Variant) -> bool:
    """Whether ``variant`` is trained with the searched setting ``path``."""
    only = search.space[path].variants
    return only is None or variant.label in map(variant_label, only)
