"""Suggestions that depend on how earlier ones ended: exact, whatever the order of arrival and whatever restarts.

Suggestion n sees the results of suggestions 0 to n - concurrency, by index and not by arrival, and the settings of the
others before it. So it is known as soon as the trials of the former have ended, and it is always the same.
"""

import hashlib
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.search_space import sample_settings
from orchestrator.experiment.suggestions.drawn import MOST_IN_A_ROW, MOST_REPEATED, exhausted, point_draws, stream
from orchestrator.experiment.suggestions.group import Group, Missed
from orchestrator.experiment.suggestions.log import Suggestion
from orchestrator.experiment.suggestions.refusals import hopeless
from orchestrator.experiment.suggestions.tpe import Observation, suggest
from orchestrator.records import Status, TrialResult

Refused = tuple[Mapping[str, Any], Missed]  # settings, and what of the contract they break
MOST_ASKED = 20  # times for one suggestion; after as many repeats and refusals it is drawn at random


class Adaptive:
    """The samples of one group as far as they are known; ``written`` is told of each before it is given out."""

    def __init__(self, group: Group, logged: Sequence[Suggestion], written: Callable[[Suggestion], object]) -> None:
        self._group, self._written = group, written
        self._known: list[Suggestion] = []
        self._ended: tuple[str, ...] | None = None  # notes, once nothing more can be suggested
        self._points = [point for i in range(len(group.search.points)) for point in self._point(i)]
        for suggestion in logged:
            own = group.recalled(suggestion) if suggestion.n == len(self._known) < group.search.limit else None
            if own is not None:
                self._add(own, suggestion.settings)

    @property
    def rejected(self) -> int:
        """Suggestions that broke the contract."""
        return sum(len(suggestion.rejected) for suggestion in self._known)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why there are fewer suggestions than were asked for, if so."""
        return self._ended or ()

    @property
    def more(self) -> bool:
        """Whether results can make more suggestions known."""
        return self._ended is None and len(self._known) < self._group.search.limit

    def advance(self, results: Mapping[str, TrialResult]) -> None:
        """Suggest whatever these results of ended trials, by name, make known. Raises ExperimentError at the start."""
        while self.more and self._has_ended(len(self._known) - self._group.search.in_flight, results):
            if (found := self._next(results)) is not None:
                self._written(found)
                self._add(found)

    def _has_ended(self, last: int, results: Mapping[str, TrialResult]) -> bool:
        """Whether every trial of suggestions 0 to ``last`` has."""
        return all(name in results for names in self._group.names[: max(0, last + 1)] for name in names)

    def _add(self, suggestion: Suggestion, logged: Mapping[str, Any] | None = None) -> None:
        for settings in suggestion.rejected:
            self._group.saw(settings)
        self._group.add(suggestion.settings, logged)
        self._known.append(suggestion)

    def _point(self, index: int) -> list[tuple[Mapping[str, Any], list[Refused]]]:
        """What the point becomes, checked before anything is trained; nothing if it repeats an earlier one."""
        refused: list[Refused] = []
        found = self._first_new(point_draws(self._group, index), refused)
        if found is None and refused:
            problems = hopeless([missed for _, missed in refused], f"search.points.{index}")
            raise ExperimentError(self._group.experiment.name, problems)
        return [] if found is None else [(found, refused)]

    def _next(self, results: Mapping[str, TrialResult]) -> Suggestion | None:
        """The suggestion that comes next; None, and the end of the search, if nothing can be suggested."""
        n, group = len(self._known), self._group
        if n < len(self._points):
            return self._suggestion(n, *self._points[n])
        refused: list[Refused] = []
        found = self._first_new(self._suggested(n, self._observed(n, results), refused), refused)
        if found is not None:
            return self._suggestion(n, found, refused)
        self._ended = exhausted(group, self.rejected + len(refused))
        if len(refused) == MOST_IN_A_ROW or (refused and not n):
            problems = hopeless([missed for _, missed in refused])
            if n < group.search.in_flight:
                raise ExperimentError(group.experiment.name, problems)
            self._ended = (*self._ended, *problems)
        return None

    def _suggestion(self, n: int, settings: Mapping[str, Any], refused: Sequence[Refused]) -> Suggestion:
        return Suggestion(self._group.label, n, settings, tuple(settings for settings, _ in refused))

    def _first_new(self, draws: Iterator[dict[str, Any]], refused: list[Refused]) -> dict[str, Any] | None:
        """The first draw that is new and keeps the contract; those that break it are added to ``refused``."""
        repeated = 0
        for drawn in draws:
            if (missed := self._group.consider(drawn)) is None:
                repeated += 1
                if repeated == MOST_REPEATED:
                    return None
            elif not missed:
                return drawn
            else:
                repeated = 0
                refused.append((drawn, missed))
                if len(refused) == MOST_IN_A_ROW:
                    return None
        return None

    def _suggested(self, n: int, seen: Sequence[Observation], refused: Sequence[Refused]) -> Iterator[dict[str, Any]]:
        """Suggestion ``n``, asked for again until it is taken; ``refused`` grows meanwhile."""
        space = self._group.space
        for retry in range(MOST_ASKED):
            infeasible = [Observation(settings, "infeasible") for settings, _ in refused]
            yield suggest(space, [*seen, *infeasible], _seed(self._group, n, retry))
        yield from sample_settings(space, f"{stream(self._group)} suggestion {n}")

    def _observed(self, n: int, results: Mapping[str, TrialResult]) -> list[Observation]:
        """What suggestion ``n`` sees of the earlier ones, in their order."""
        seen: list[Observation] = []
        for earlier, names in zip(self._known[:n], self._group.names, strict=False):
            seen += [Observation(settings, "infeasible") for settings in earlier.rejected]
            if earlier.n <= n - self._group.search.in_flight:
                seen.append(_observation(earlier.settings, [results[name] for name in names]))
            else:
                seen.append(Observation(earlier.settings, "running"))
        return seen


def _observation(settings: Mapping[str, Any], trials: Sequence[TrialResult]) -> Observation:
    """How the trials of a suggestion ended: its value is their mean validation accuracy."""
    accuracies = [trial.val_accuracy for trial in trials if trial.val_accuracy is not None]
    if len(accuracies) < len(trials) or any(trial.status is Status.FAILED for trial in trials):
        return Observation(settings, "failed")
    if all(trial.status is Status.COMPLETE for trial in trials):
        return Observation(settings, "complete", statistics.fmean(accuracies))
    epochs = sorted(set.intersection(*(set(trial.curve) for trial in trials)))  # those of the shortest
    curve = {epoch: statistics.fmean(trial.curve[epoch] for trial in trials) for epoch in epochs}
    return Observation(settings, "pruned", curve=curve)


def _seed(group: Group, n: int, retry: int) -> int:
    """32 bits from the search's seed, the variant, and which suggestion is asked for, how often."""
    key = json.dumps([group.search.seed, group.label or "", n, retry])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
