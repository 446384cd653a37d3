"""What a search tried for each variant, which configuration was chosen, and what every variant was given to spend.

A configuration is one draw of settings, trained with every seed. A variant's figures are those of one configuration,
chosen by validation accuracy alone; the others are described here and never averaged in. Test accuracies take no part.
In a launch in stages, only the trials of the search are described.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table as TerminalTable

from orchestrator.records import CONFIRM, Status, TrialRow
from orchestrator.reporting.states import state_word
from orchestrator.reporting.terminal_table import terminal_table
from orchestrator.selection import complete_trials, measured_trials, selected_trials, unconfirmed
from orchestrator.text import settings_in_words

if TYPE_CHECKING:
    from orchestrator.reporting.tables import Table

CAPTION = (
    "Best, median, lowest and standard deviation are over configurations of which every seed is complete, by the mean "
    "validation accuracy over seeds; what was stopped early is counted only. Gain: best minus median."
)
_COUNTS = ("complete", "stopped", "failed", "unfinished")


@dataclass(frozen=True)
class Searched:
    """The search of one variant; accuracies are validation accuracies of configurations, as fractions."""

    variant: str
    configurations: int  # that were tried
    complete: int  # with every seed
    stopped: int  # early by the scheduler, with at least one seed
    failed: int  # with at least one seed
    unfinished: int  # still running, or interrupted with the launch
    trials: int
    epochs: int  # of all trials
    seconds: float  # of all trials, wall time of training
    chosen: int | None = None  # index of the draw with which the variant is compared; None: none is chosen
    confirmed: int | None = None  # trials that train the chosen one afresh; None: those of the search are compared
    search_failed: bool = False  # every trial of the search has failed, so that nothing is trained afresh
    earlier: int = 0  # other configurations that were chosen before the search went on, and evaluated
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the chosen one, by dotted path
    accuracy: float | None = None  # of the chosen one
    best: float | None = None  # this and what follows: over configurations of which every seed is complete
    median: float | None = None
    lowest: float | None = None
    spread: float | None = None  # sample standard deviation; None with fewer than two
    gain: float | None = None  # best minus median; None with fewer than two

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def searched(trials: Sequence[TrialRow]) -> tuple[Searched, ...]:
    """One row per variant, in the order of the plan; empty if nothing was searched and nothing stopped early.

    Trials that a scheduler stops early share out what is spent as well: without a search, each variant has one
    configuration.
    """
    if all(trial.sample is None and trial.status != Status.STOPPED for trial in trials):
        return ()
    blind = [_without_value(trial) for trial in trials]
    chosen = selected_trials(blind)
    found = [trial for trial in blind if trial.stage != CONFIRM]
    seeds = {trial.seed for trial in found}
    failed = unconfirmed(trials)
    last = CONFIRM in {trial.stage for trial in trials}  # every variant's choice has been made
    confirmed = [trial for trial in blind if trial.stage == CONFIRM]
    rows = []
    for name, mine in chosen.items():
        own = [trial for trial in found if trial.variant == name]
        stands = [trial for trial in confirmed if trial.variant == name]  # whatever is left of its search
        rows.append(_searched(name, own, mine, stands, len(seeds), last and name not in failed))
    other = {
        row.variant: {t.sample for t in measured_trials(trials) if t.variant == row.variant and t.sample != row.chosen}
        for row in rows
    }
    rows = [replace(row, earlier=len(other[row.variant])) for row in rows]
    if not any(trial.stage for trial in trials):
        return tuple(rows)
    count = {name: sum(t.variant == name and t.stage == CONFIRM for t in trials) for name in chosen}
    return tuple(replace(row, confirmed=count[row.variant], search_failed=row.variant in failed) for row in rows)


def search_table(rows: Sequence[Searched]) -> "Table":
    """For the page: every figure."""
    from orchestrator.reporting.tables import Table  # torch comes with it: who only reads results does not need it

    columns = (
        "variant",
        "configurations",
        *(state_word(c) for c in _COUNTS if any(getattr(row, c) for row in rows)),
        "trials",
        "epochs",
        "seconds",
        "chosen",
        "chosen accuracy",
        "best",
        "median",
        "lowest",
        "standard deviation",
        "gain",
    )
    names = {state_word("stopped"): "stopped", "chosen accuracy": "accuracy", "standard deviation": "spread"}
    cells = [
        [_label(row) if column == "chosen" else getattr(row, names.get(column, column)) for column in columns]
        for row in rows
    ]
    return Table("search", "What was searched, by validation accuracy", columns, cells)


def terminal_search(rows: Sequence[Searched]) -> TerminalTable:
    """For a terminal: accuracies in percent, the gain in points; the chosen settings have a table of their own."""
    columns = ("variant", "tried", "stopped", "failed", "best", "median", "lowest", "sd", "gain", "epochs")
    cells = [
        (
            row.variant,
            str(row.configurations),
            _count(row.stopped),
            _count(row.failed),
            *(_percent(value) for value in (row.best, row.median, row.lowest, row.spread, row.gain)),
            f"{row.epochs:,}",
        )
        for row in rows
    ]
    return terminal_table(
        "What was searched, by validation accuracy",
        columns,
        cells,
        "configurations; gain: best minus median, in points",
    )


def _without_value(trial: TrialRow) -> TrialRow:
    """The trial as the choice sees it: whether it has been evaluated on the test split, not how well it did."""
    return trial if trial.test_accuracy is None else replace(trial, test_accuracy=0.0)


def _searched(
    variant: str,
    trials: Sequence[TrialRow],
    compared: Sequence[TrialRow],
    confirmed: Sequence[TrialRow],
    seeds: int,
    is_chosen: bool,
) -> Searched:
    configurations: dict[int | None, list[TrialRow]] = {}
    for trial in trials:
        configurations.setdefault(trial.sample, []).append(trial)
    states = [_state(mine, seeds) for mine in configurations.values()]
    whole = [mine for mine, state in zip(configurations.values(), states, strict=True) if state == "complete"]
    accuracies = [a for mine in whole if (a := _accuracy(mine)) is not None]  # means over the same seeds
    found = Searched(
        variant,
        configurations=len(configurations),
        complete=states.count("complete"),
        stopped=states.count("stopped"),
        failed=states.count("failed"),
        unfinished=states.count("unfinished"),
        trials=len(trials),
        epochs=sum(trial.epochs for trial in trials),
        seconds=sum(trial.seconds or 0.0 for trial in trials),
    )
    if confirmed or complete_trials(compared) or (is_chosen and compared):
        first = [*confirmed, *compared][0]
        same = [trial for trial in compared if trial.sample == first.sample]
        found = replace(found, chosen=first.sample, settings=first.settings, accuracy=_accuracy(same))
    if not accuracies:
        return found
    best, median = max(accuracies), statistics.median(accuracies)
    found = replace(found, best=best, median=median, lowest=min(accuracies))
    return found if len(accuracies) < 2 else replace(found, spread=statistics.stdev(accuracies), gain=best - median)


def _state(trials: Sequence[TrialRow], seeds: int) -> str:
    """How a configuration ended, of which there should be a trial for each of ``seeds`` seeds: the worst of its trials.

    One that the scheduler has stopped needs no further seed.
    """
    if any(trial.status == Status.FAILED for trial in trials):
        return "failed"
    if any(trial.status == Status.STOPPED for trial in trials):
        return "stopped"
    return "complete" if len(complete_trials(trials)) == seeds else "unfinished"


def _accuracy(trials: Sequence[TrialRow]) -> float | None:
    """Mean validation accuracy of one configuration; None if no trial of it has ended without failing."""
    ended = complete_trials(trials) or [trial for trial in trials if trial.status == Status.STOPPED]
    accuracies = [trial.val_accuracy for trial in ended if trial.val_accuracy is not None]
    return statistics.fmean(accuracies) if accuracies else None


def _label(row: Searched) -> str | None:
    """The chosen settings: ``lr 0.1, width 32``."""
    if row.chosen is None:
        return None
    return settings_in_words(row.settings) or f"sample {row.chosen}"


def _count(number: int) -> str:
    return str(number) if number else ""


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"
