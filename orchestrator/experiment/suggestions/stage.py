"""The trials of an experiment without its later stages: those of its search, or one of each variant and seed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.errors import ExperimentError
from orchestrator.experiment.suggestions.adaptive import Adaptive
from orchestrator.experiment.suggestions.drawn import Drawn
from orchestrator.experiment.suggestions.group import Broken, Group
from orchestrator.experiment.suggestions.listed import listed_sources
from orchestrator.experiment.suggestions.log import Suggestion, append, read_log
from orchestrator.experiment.suggestions.refusals import refusals
from orchestrator.experiment.trials import Sources, trial_spec
from orchestrator.records import TrialResult
from orchestrator.spec import Experiment, Search, TrialSpec
from orchestrator.text import listed


class Stage(Protocol):
    """Some trials of an experiment, which may become known as others end."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""

    @property
    def rejected(self) -> int:
        """Draws that broke the contract and were drawn again, so far."""

    @property
    def more(self) -> bool:
        """Whether further trials may become known."""

    def listed(self) -> dict[str, dict[str, str]]:
        """By variant, the sources of classes that may be drawn in the light of results, by the classes."""

    def remember(self, log: Path, written: Callable[[Path], object]) -> None:
        """Keep what is suggested from now on in ``log``, and stand by what it holds already."""

    def check_log(self, log: Path) -> None:
        """Raise ExperimentError if what ``log`` holds cannot be stood by."""

    def trials(self, results: Mapping[str, TrialResult]) -> list[TrialSpec]:
        """Every trial that is known once ``results``, by trial name, are; with more results never fewer."""


class PlainStage:
    """Without a search: every variant with every seed."""

    notes: tuple[str, ...] = ()
    rejected = 0
    more = False

    def __init__(self, experiment: Experiment, dataset_digest: str) -> None:
        sources = Sources()
        self._trials = [
            trial_spec(experiment, variant, seed, dataset_digest, {}, sources)
            for seed in experiment.seeds
            for variant in experiment.variants
        ]

    def listed(self) -> dict[str, dict[str, str]]:
        """Nothing is drawn."""
        return {}

    def remember(self, log: Path, written: Callable[[Path], object]) -> None:
        """Nothing is suggested."""

    def check_log(self, log: Path) -> None:
        """Nothing was suggested."""

    def trials(self, results: Mapping[str, TrialResult]) -> list[TrialSpec]:
        """All of them: seeds outermost, so that each variant starts early."""
        return list(self._trials)


class SearchStage:
    """The trials of a search: by sample, seed and variant. Raises ExperimentError if it cannot be searched so."""

    def __init__(self, experiment: Experiment, search: Search, dataset_digest: str, broken: Broken) -> None:
        if problems := refusals(experiment, search):
            raise ExperimentError(experiment.name, problems)
        self._experiment, self._search = experiment, search
        self._digest, self._broken, self._sources = dataset_digest, broken, Sources()
        self._start()

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs from what was asked for."""
        invalid = tuple(dict.fromkeys(note for group in self._groups for note in group.notes))
        return tuple(note for stream in self._streams for note in stream.notes) + invalid + self._uneven()

    @property
    def rejected(self) -> int:
        """Of a grid, the settings that are left out."""
        return sum(stream.rejected for stream in self._streams)

    @property
    def more(self) -> bool:
        """Whether results can make further trials known; asked after :meth:`trials`."""
        return any(stream.more for stream in self._streams)

    def listed(self) -> dict[str, dict[str, str]]:
        """Those of TPE; what a grid or random draws have is known from the start."""
        return listed_sources(self._experiment, self._search, self._sources) if self._search.name == "tpe" else {}

    def remember(self, log: Path, written: Callable[[Path], object]) -> None:
        """Keep the suggestions of TPE in ``log``; it is read first, and what it holds replaces what was suggested.

        ``written`` is told of the file after each line. Raises ExperimentError as :meth:`check_log` does.
        """
        if self._search.name != "tpe":
            return

        def write(suggestion: Suggestion) -> None:
            append(log, suggestion)
            written(log)

        self.check_log(log)
        self._start(read_log(log), write)

    def check_log(self, log: Path) -> None:
        """Raise ExperimentError if ``log`` is of another search, or a variant cannot be trained with what it holds.

        So it may be with a variant that is new, or with a contract that has become narrower.
        """
        if self._search.name != "tpe":
            return
        misfits: dict[str, str] = {}
        for group, one in (
            (group, one) for one in read_log(log) for group in self._groups if group.label == one.variant
        ):
            if (own := group.recalled(one)) is None:
                raise ExperimentError(str(log), ["holds suggestions of another search; move it away to begin this one"])
            if one.n < self._search.limit:
                misfits = {**group.misfits(own.settings), **misfits}
        if misfits:
            raise ExperimentError(self._experiment.name, [_differ(label, why) for label, why in misfits.items()])

    def trials(self, results: Mapping[str, TrialResult]) -> list[TrialSpec]:
        """Every trial that is known once ``results``, by trial name, are."""
        for stream in self._streams:
            stream.advance(results)
        place = {variant.label: position for position, variant in enumerate(self._experiment.variants)}
        seeds = self._experiment.seeds
        known = [spec for group in self._groups for sample in group.specs for spec in sample]
        return sorted(known, key=lambda spec: (spec.sample, seeds.index(spec.seed), place[spec.label]))

    def _start(self, logged: Sequence[Suggestion] = (), write: Callable[[Suggestion], object] = lambda _: None) -> None:
        labels = [None] if self._search.per == "shared" else [v.label for v in self._experiment.variants]
        given = self._digest, self._broken, self._sources
        self._groups = [Group(self._experiment, self._search, x, *given) for x in labels]
        self._streams: list[Drawn | Adaptive]
        if self._search.name == "tpe":
            mine = {x: [one for one in logged if one.variant == x] for x in labels}
            self._streams = [Adaptive(group, mine[group.label], write) for group in self._groups]
        else:
            self._streams = [Drawn(group) for group in self._groups]

    def _uneven(self) -> tuple[str, ...]:
        """A note if variants of one group are trained with different numbers of settings."""
        counts = {
            variant.label: sum(any(spec.label == variant.label for spec in sample) for sample in group.specs)
            for group in self._groups
            for variant in group.variants
        }
        most = max(counts.values(), default=0)
        fewer = [f"{label} with {count}" for label, count in counts.items() if count < most]
        if self.more or self._search.per == "variant" or not fewer:
            return ()
        return (f"not every variant has all searched settings: {listed(fewer)} of {most} different ones",)


def _differ(label: str, why: str) -> str:
    return (
        f"the launch differs in the settings drawn for {label}, since other draws meet the contract ({why}); leave "
        f"{label} out, widen the contract, or begin a new launch with `orchestrator run --again`"
    )
