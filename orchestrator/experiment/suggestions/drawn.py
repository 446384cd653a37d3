"""Random search and grid search: every setting is known before anything is trained."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.distributions import admitted, values
from orchestrator.experiment.search_space import grid, sample_settings
from orchestrator.experiment.suggestions.group import Group, Missed
from orchestrator.experiment.suggestions.refusals import SPACE, hopeless
from orchestrator.records import TrialResult
from orchestrator.spec.search import MOST_SAMPLES
from orchestrator.text import counted

MOST_IN_A_ROW = 50  # draws that break the contract before the search gives up
MOST_REPEATED = 1_000  # duplicate draws in a row after which the space counts as exhausted


class Drawn:
    """The samples of one group, all of them from the start; a draw that breaks the contract is replaced."""

    more = False

    def __init__(self, group: Group) -> None:
        self.rejected = 0
        self._group = group
        for index in range(len(group.search.points)):
            self._take(point_draws(group, index), len(group.specs) + 1, f"search.points.{index}")
        self._take(_draws(group), group.search.limit, SPACE)

    def advance(self, results: Mapping[str, TrialResult]) -> None:
        """Do nothing: no draw depends on how others ended."""

    @property
    def notes(self) -> tuple[str, ...]:
        """That there are fewer settings than were asked for, if so."""
        return exhausted(self._group, self.rejected)

    def _take(self, draws: Iterator[dict[str, Any]], wanted: int, what: str) -> None:
        """Add samples from ``draws`` until there are ``wanted``. Raises ExperimentError if none keeps the contract."""
        group = self._group
        before, repeated, hopes = len(group.specs), 0, MOST_IN_A_ROW if group.search.name == "random" else math.inf
        in_a_row: list[Missed] = []
        while len(group.specs) < wanted and len(in_a_row) < hopes and repeated < MOST_REPEATED:
            if (drawn := next(draws, None)) is None:
                break
            missed = group.consider(drawn)
            repeated = repeated + 1 if missed is None else 0
            if missed:
                self.rejected += 1
                in_a_row.append(missed)
            elif missed is not None:
                in_a_row.clear()
                group.add(drawn)
        if in_a_row and (len(group.specs) == before or len(in_a_row) == hopes):
            raise ExperimentError(group.experiment.name, hopeless(in_a_row, what))


def stream(group: Group) -> int | str:
    """The seed of a group's draws: shared ones depend on the search's seed alone."""
    return group.search.seed if group.label is None else f"{group.search.seed} {group.label}"


def point_draws(group: Group, index: int) -> Iterator[dict[str, Any]]:
    """The settings of a point; what it leaves out is drawn from a stream of its own, so that the draws stay."""
    given = {
        path: admitted(group.space[path], value)
        for path, value in group.search.points[index].items()
        if path in group.space
    }
    rest = {path: distribution for path, distribution in group.space.items() if path not in given}
    return ({**drawn, **given} for drawn in sample_settings(rest, f"{stream(group)} point {index}"))


def exhausted(group: Group, rejected: int) -> tuple[str, ...]:
    """A note if the group has fewer settings than were asked for."""
    search, count = group.search, len(group.specs)
    if count >= search.limit or (search.name == "grid" and search.samples is None and not rejected):
        return ()
    what = counted(count, "setting")
    whose = "" if group.label is None else f" of {group.label}"
    within = f" that meet{'s' if count == 1 else ''} the contract" if rejected and not group.notes else ""
    asked = f", not the {search.limit} requested samples" if search.samples or search.name != "grid" else ""
    return (f"search.space has only {what}{whose}{within}{asked}",)


def _draws(group: Group) -> Iterator[dict[str, Any]]:
    if group.search.name == "random":
        return sample_settings(group.space, stream(group))
    size = math.prod(len(values(distribution) or ()) for distribution in group.space.values())
    if size > MOST_SAMPLES and group.search.samples is None:
        raise ExperimentError(
            group.experiment.name,
            [f"search.space: a grid of {size:,} settings; search.samples, at most {MOST_SAMPLES:,}, takes the first"],
        )
    return grid(group.space)
