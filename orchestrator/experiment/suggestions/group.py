"""The variants that are trained with the same settings of a search, and what their trials are."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.errors import VariantError
from orchestrator.experiment.distributions import recalled
from orchestrator.experiment.search_space import Labels, Space
from orchestrator.experiment.suggestions.log import Suggestion
from orchestrator.experiment.trials import Sources, trial_spec
from orchestrator.spec import Experiment, Search, TrialSpec, Variant, variant_label
from orchestrator.spec.trial import SEARCH

if TYPE_CHECKING:
    from orchestrator.contract import ContractCheck

# The contract limits that a trial's network breaks; called for every draw of a search.
Broken = Callable[[TrialSpec], "Sequence[ContractCheck]"]
Missed = Sequence["tuple[str, ContractCheck | Invalid]"]  # a variant's label and the limit that it breaks


@dataclass(frozen=True)
class Invalid:
    """Settings that no trial can have together; like a check of the contract that is not passed."""

    reason: str
    name: ClassVar[str] = "valid"
    limit: ClassVar[bool] = True
    value: ClassVar[None] = None

    def format(self) -> str:
        """What is wrong, as one line of text."""
        return self.reason


class _InvalidError(Exception):
    """Settings are invalid together, for the variant called ``label``."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(reason)
        self.label = label


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
        self._invalid: dict[str, str] = {}  # settings as JSON: why they are invalid together
        self.specs: list[tuple[TrialSpec, ...]] = []  # the trials of each sample, by seed and variant
        self.names: list[tuple[str, ...]] = []  # all that a sample is judged by, also the trials of earlier ones

    @property
    def notes(self) -> tuple[str, ...]:
        """That some settings are invalid together, if so."""
        what = "left out" if self.search.name == "grid" else "replaced"
        reasons = list(self._invalid.values())[:1]
        return tuple(f"search.space: settings that are invalid together are {what}: {reason}" for reason in reasons)

    def consider(self, settings: Mapping[str, Any]) -> Missed | None:
        """What of the contract these settings break, empty if they can be trained; None if they were considered.

        Settings that are valid, but not together, are like those that break it.
        """
        return self._missed(settings) if self.saw(settings) else None

    def saw(self, settings: Mapping[str, Any]) -> bool:
        """Note that these settings are considered, now or by an earlier process; returns whether they were not yet."""
        try:
            identities = [(trial.label, trial.identity()) for trial in self._first_trials(settings)]
        except _InvalidError as problem:
            before = len(self._invalid)
            self._invalid.setdefault(json.dumps(settings, sort_keys=True), str(problem))
            return len(self._invalid) > before
        is_new = any(identity not in self._seen[label] for label, identity in identities)
        for label, identity in identities:
            self._seen[label].add(identity)
        return is_new

    def _missed(self, settings: Mapping[str, Any]) -> Missed:
        try:
            trials = self._first_trials(settings)
        except _InvalidError as problem:
            return [(problem.label, Invalid(str(problem)))]
        return [(trial.label, check) for trial in trials for check in self.broken(trial)]

    def add(self, settings: Mapping[str, Any], logged: Mapping[str, Any] | None = None) -> None:
        """Train these settings, as the next sample; it is named by how they were ``logged``, if they were."""
        sample = len(self.specs)
        new: list[list[TrialSpec]] = []
        names: list[str] = []
        for variant, first in zip(self.variants, self._first_trials(settings), strict=True):
            own, trained = self.part(variant, settings), self._trained[variant.label]
            identity = first.identity()
            self._seen[variant.label].add(identity)  # a sample from a log has not been considered
            if identity not in trained:
                shown = own if logged is None else self.part(variant, logged)
                label = self._labels[variant.label].next(sample, shown)
                named = replace(first, sample=sample, settings=own, settings_label=label, stage=SEARCH)
                new.append([replace(named, seed=seed) for seed in self.experiment.seeds])
                trained[identity] = [spec.name for spec in new[-1]]
            names += trained[identity]
        self.specs.append(tuple(spec for of_seed in zip(*new, strict=True) for spec in of_seed))
        self.names.append(tuple(names))

    def recalled(self, logged: Suggestion) -> Suggestion | None:
        """The suggestion with classes as this process finds them; None if it cannot have been made for this space."""
        if any(one.keys() != self.space.keys() for one in (logged.settings, *logged.rejected)):
            return None
        try:
            settings, *rejected = (
                {path: recalled(self.space[path], value) for path, value in one.items()}
                for one in (logged.settings, *logged.rejected)
            )
        except ValueError:
            return None
        return replace(logged, settings=settings, rejected=tuple(rejected))

    def misfits(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """The variants that cannot be trained with these settings, or break the contract with them, and why."""
        found: dict[str, str] = {}
        try:
            for variant, trial in zip(self.variants, self._first_trials(settings), strict=True):
                given = Labels(list(self.space)).next(0, self.part(variant, settings))
                try:
                    if broken := self.broken(trial):
                        found[trial.label] = f"{given}: {broken[0].format()}"
                except VariantError as problem:
                    found[trial.label] = f"{given}: {str(problem).partition(chr(10))[0]}"
        except _InvalidError as problem:
            found[problem.label] = str(problem)
        return found

    def part(self, variant: Variant, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that ``variant`` has."""
        return {path: value for path, value in settings.items() if has(self.search, path, variant)}

    def _first_trials(self, settings: Mapping[str, Any]) -> list[TrialSpec]:
        """The trials of the first seed, by variant; kept, because what is considered is mostly trained next.

        Raises _InvalidError.
        """
        if self._last[0] is not settings:
            experiment, seed = self.experiment, self.experiment.seeds[0]
            parts = [(variant, self.part(variant, settings)) for variant in self.variants]
            specs = []
            for variant, own in parts:
                try:
                    specs.append(trial_spec(experiment, variant, seed, self._digest, own, self._sources))
                except (ValueError, TypeError, IndexError) as problem:
                    raise _InvalidError(variant.label, str(problem).removeprefix("spec.")) from problem
            self._last = settings, specs
        return self._last[1]


def has(search: Search, path: str, variant: Variant) -> bool:
    """Whether ``variant`` is trained with the searched setting ``path``."""
    only = search.space[path].variants
    return only is None or variant.label in map(variant_label, only)
