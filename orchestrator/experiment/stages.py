"""The trials that follow on an experiment's first ones: those that confirm a search, and those of further rounds."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.experiment.confirmation import choices_in_words, choose, confirm_trials
from orchestrator.experiment.rounds import Round, plan_rounds
from orchestrator.experiment.stage_log import StageLog
from orchestrator.records import TrialResult
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.spec.rounds import seeds_of_rounds
from orchestrator.text import counted


class LaterStages:
    """What follows on the first trials of ``experiment``; nothing, without ``confirm`` and ``verdict.until_decided``.

    ``gpus`` is the share of a GPU that a trial gets, for the limit of GPU time; None while it is not known. ``said``
    are the decisions so far, in words.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.gpus: float | None = None
        self.said: list[str] = []
        self._log = StageLog()
        self._specs: dict[tuple[str, int], TrialSpec] = {}  # of later trials, by variant and seed

    @property
    def wanted(self) -> bool:
        """Whether there are any later stages, so that more may follow."""
        return self.experiment.confirm is not None or self.experiment.verdict.until_decided

    def remember(self, log: Path, written: Callable[[Path], object] = lambda _: None) -> None:
        """Keep every decision from now on in ``log``, and stand by those that it holds; ``written`` is told of it."""
        self._log.open(log, written)

    def trials(
        self, first: Sequence[TrialSpec], results: Mapping[str, TrialResult], more: bool = False
    ) -> list[TrialSpec]:
        """Every trial that is known besides the ``first`` ones, which may yet become ``more``, once ``results`` are."""
        confirm, settings = self.experiment.confirm, self.experiment.verdict
        if not self.wanted:
            return []
        said: list[str] = []
        if confirm is None:
            seeds = self.experiment.seeds
            templates = {spec.label: spec for spec in reversed(first)}
        else:
            seeds = confirm.seeds
            if not more:
                self._log.choose(choose(first, results, self._log.choices))
            templates = confirm_trials(first, self._log.choices)
            if templates or (not more and all(spec.name in results for spec in first)):
                said += choices_in_words(first, results, self._log.choices, seeds)
        variants = [variant.label for variant in self.experiment.variants]
        rounds = [Round(seed, tuple(variants)) for seed in seeds]
        if settings.until_decided and templates:
            gone = {s.label for s in first} - templates.keys() - {s.label for s in first if s.name not in results}
            rounds = self._rounds(templates, gone, seeds, results, said)
        self._say(said)
        later = rounds if confirm is not None else rounds[len(seeds) :]  # else the first are among the known ones
        return [self._spec(templates[v], one.seed) for one in later for v in one.variants if v in templates]

    def _rounds(
        self,
        templates: Mapping[str, TrialSpec],
        gone: Collection[str],
        seeds: Sequence[int],
        results: Mapping[str, TrialResult],
        said: list[str],
    ) -> list[Round]:
        """The rounds that are known; variants that are ``gone`` take part in none."""
        settings = self.experiment.verdict
        most = max(settings.max_seeds, len(seeds) + len(self._log.rounds))
        every = seeds_of_rounds(seeds, most)
        names = {(label, seed): self._spec(spec, seed).name for label, spec in templates.items() for seed in every}
        ended = {place: results[name] for place, name in names.items() if name in results}
        spent = None if self.gpus is None else self.gpus * sum(result.seconds for result in results.values())
        variants = [variant.label for variant in self.experiment.variants]
        known = plan_rounds(variants, seeds, ended, settings, self._log.rounds, spent, gone)
        for one in known.rounds[len(seeds) :]:
            self._log.begin(one.seed, one.variants)
        said += known.said
        return known.rounds

    def _spec(self, template: TrialSpec, seed: int) -> TrialSpec:
        place = template.label, seed
        if place not in self._specs or self._specs[place].sample != template.sample:
            self._specs[place] = template if template.seed == seed else replace(template, seed=seed)
        return self._specs[place]

    def _say(self, lines: Sequence[str]) -> None:
        """Each decision once: what a line says of accuracies may change while a trial is tried again."""
        known = {_decision(line) for line in self.said}
        self.said += [line for line in lines if _decision(line) not in known]


def _decision(line: str) -> str:
    return re.sub(r"\([^)]*\)", "", line)


@dataclass(frozen=True)
class ToCome:
    """Trials that results may make known, at most so many."""

    words: str  # for the user
    trials: int  # of all variants together, at most
    seeds: int  # of each variant, at most


def to_come(experiment: Experiment) -> list[ToCome]:
    """What may follow on the trials that are known from the outset, as far as it is known."""
    variants, found = len(experiment.variants), []
    seeds, settings, search = experiment.seeds, experiment.verdict, experiment.search
    if search is not None and search.name == "tpe" and (left := search.limit - min(search.limit, search.in_flight)):
        trials = left * variants * len(seeds)
        more, most = counted(left, "more setting"), counted(trials, "trial")
        words = f"then up to {more}, suggested by what came of the first: at most {most}"
        found.append(ToCome(words, trials, left * len(seeds)))
    if experiment.confirm is not None:
        seeds = experiment.confirm.seeds
        most = counted(variants * len(seeds), "trial")
        words = f"then each variant's best settings with {counted(len(seeds), 'seed')}: {most}"
        found.append(ToCome(words, variants * len(seeds), len(seeds)))
    further = settings.max_seeds - len(seeds)
    if settings.until_decided and further > 0:
        most = counted(variants * further, "more trial")
        words = f"then up to {settings.max_seeds} seeds of each variant: at most {most}"
        found.append(ToCome(words, variants * further, further))
    return found
