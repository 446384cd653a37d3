"""What a launch spent, by variant: time trained, cores and GPUs reserved, what early stopping saved, what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from rich.table import Table as TerminalTable

from orchestrator.records import Status, TrialRow
from orchestrator.reporting.terminal_table import terminal_table
from orchestrator.text import duration

if TYPE_CHECKING:
    from orchestrator.reporting.tables import Cell, Table

HOUR = 3600.0  # seconds
TOTAL = "all variants"
LEFT_OUT = "left out"  # the row of all trials that are no longer in the plan
LEFT_OUT_SAID = "trials that are no longer in the experiment file, but were trained"
CAPTION = (
    "Time of the epochs that the results are made of, evaluation included; starting workers, waiting, and epochs that "
    "were repeated after a crash are not in it. Cores and GPUs are reserved while a trial trains, busy or not."
)


@dataclass(frozen=True)
class Share:
    """What one trial reserves while it trains, and the price of it; None is unknown."""

    cpus: float | None = None
    gpus: float | None = None
    price_per_second: float | None = None

    @classmethod
    def of(cls, resources: Mapping[str, float], price_per_hour: float | None = None) -> "Share":
        """Of ``{"CPU": cores, "GPU": share}``, with the price of a GPU or, without one, of a CPU core for an hour."""
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        return cls(cpus, gpus, None if price_per_hour is None else price_per_hour / HOUR * (gpus or cpus))

    @classmethod
    def recorded(
        cls, share: Mapping[str, float | None] | None, metrics: Mapping[str, float], trials: Sequence[TrialRow]
    ) -> "Share":
        """As the launch's own run keeps it: the fields of this class.

        Launches of earlier versions have none: of them it is what the ``metrics`` of their last end say of all of their
        ``trials``, and unknown until they have ended once.
        """
        if share is not None:
            return cls(**share)
        trained = trained_seconds(trials)
        if not trained:
            return cls()
        names = "cpu_seconds", "gpu_seconds", "price"
        return cls(*(metrics[name] / trained if name in metrics else None for name in names))


@dataclass(frozen=True)
class Spent:
    """What the trials of one variant, or of all, cost; seconds are wall time of training."""

    variant: str
    trials: int = 0  # that were started
    seconds: float = 0.0
    cpu_seconds: float | None = None  # reserved; None: unknown
    gpu_seconds: float | None = None
    saved_epochs: int = 0  # not trained, because a scheduler stopped the trial or it had reached its target accuracy
    saved_seconds: float = 0.0  # at the speed of the same trial
    failed: int = 0  # trials
    lost_seconds: float = 0.0  # of the failed trials; part of ``seconds``
    reused: int = 0  # trials taken over from another launch, or trained in this one under another name
    reused_seconds: float = 0.0  # that these had taken; not part of ``seconds``
    price: float | None = None  # in the unit of resources.price_per_hour; None: not given


def spending(trials: Sequence[TrialRow], share: Share, left_out: Sequence[TrialRow] = ()) -> tuple[Spent, ...]:
    """One row per variant, in the order of the plan, and one of the trials that were ``left_out`` of it, if any."""
    variants = dict.fromkeys(trial.variant for trial in trials)
    rows = [_spent(name, [t for t in trials if t.variant == name], share) for name in variants]
    return (*rows, *([_spent(LEFT_OUT, left_out, share)] if left_out else []))


def trained_seconds(trials: Sequence[TrialRow]) -> float:
    """How long these trials have trained, without those that were taken over."""
    return _seconds([trial for trial in trials if not trial.taken_over_from])


def total(spent: Sequence[Spent]) -> Spent:
    """The sum of all variants; what is unknown of one is unknown of all."""
    sums: dict[str, Any] = {}
    for name in (f.name for f in fields(Spent) if f.name != "variant"):
        values = [getattr(row, name) for row in spent]
        sums[name] = None if None in values else sum(values)
    return Spent(TOTAL, **sums)


def to_dict(spent: Sequence[Spent]) -> dict[str, Any]:
    """Plain JSON."""
    return {"variants": [asdict(row) for row in spent], "total": asdict(total(spent))}


def spending_table(spent: Sequence[Spent]) -> "Table":
    """For the page: every figure, without columns that say nothing."""
    from orchestrator.reporting.tables import Table  # torch comes with it: who only reads results does not need it

    columns = (
        "variant",
        "trials",
        "seconds",
        "CPU seconds",
        "GPU seconds",
        "epochs saved",
        "seconds saved",
        "failed",
        "seconds lost",
        "reused",
        "seconds reused",
        "price",
    )
    rows = [_cells(row) for row in _with_total(spent)]
    kept = [i for i in range(len(columns)) if i < 3 or any(row[i] for row in rows)]
    return Table(
        "spending", "What was spent", tuple(columns[i] for i in kept), [[row[i] for i in kept] for row in rows]
    )


def terminal_spending(spent: Sequence[Spent]) -> TerminalTable:
    """For a terminal: durations in units that people read."""
    columns = ("variant", "trials", "trained", "CPU time", "GPU time", "saved", "lost", "reused", "price")
    rows = [
        (
            row.variant,
            str(row.trials),
            duration(row.seconds),
            _duration(row.cpu_seconds),
            _duration(row.gpu_seconds),
            _duration(row.saved_seconds),
            _duration(row.lost_seconds),
            _duration(row.reused_seconds),
            "" if row.price is None else money(row.price),
        )
        for row in _with_total(spent)
    ]
    notes = {
        "saved": "by early stopping",
        "lost": "in failed trials",
        "reused": "trained by another launch or under another name",
    }
    said = [f"{name}: {note}" for name, note in notes.items() if any(row[columns.index(name)] for row in rows)]
    said += [f"{LEFT_OUT}: {LEFT_OUT_SAID}"] if _has_left_out(spent) else []
    return terminal_table("What was spent", columns, rows, "; ".join(said))


def caption(spent: Sequence[Spent]) -> str:
    """What the page says of the table."""
    return f"{CAPTION} The row {LEFT_OUT}: {LEFT_OUT_SAID}." if _has_left_out(spent) else CAPTION


def money(amount: float) -> str:
    """``0.0042``, ``3.14`` or ``1,250.00``: at least two significant digits."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"


def _spent(variant: str, trials: Sequence[TrialRow], share: Share) -> Spent:
    own = [trial for trial in trials if not trial.taken_over_from]
    others = [trial for trial in trials if trial.taken_over_from]
    failed = [trial for trial in own if trial.status == Status.FAILED]
    seconds = _seconds(own)
    return Spent(
        variant,
        trials=len(own),
        seconds=seconds,
        cpu_seconds=_times(seconds, share.cpus),
        gpu_seconds=_times(seconds, share.gpus),
        saved_epochs=sum(map(_epochs_saved, own)),
        saved_seconds=sum(_epochs_saved(t) * (t.seconds or 0.0) / t.epochs for t in own if t.epochs),
        failed=len(failed),
        lost_seconds=_seconds(failed),
        reused=len(others),
        reused_seconds=_seconds(others),
        price=_times(seconds, share.price_per_second),
    )


def _epochs_saved(trial: TrialRow) -> int:
    """Planned epochs that an ended trial did not need; one that was interrupted or failed still needs them."""
    ended = trial.status in (Status.COMPLETE, Status.STOPPED)
    return max(0, (trial.planned_epochs or 0) - trial.epochs) if ended else 0


def _seconds(trials: Sequence[TrialRow]) -> float:
    return sum(trial.seconds or 0.0 for trial in trials)


def _has_left_out(spent: Sequence[Spent]) -> bool:
    return bool(spent) and spent[-1].variant == LEFT_OUT


def _times(seconds: float, amount: float | None) -> float | None:
    return None if amount is None else seconds * amount


def _with_total(spent: Sequence[Spent]) -> list[Spent]:
    return [*spent, *([total(spent)] if len(spent) > 1 else [])]


def _cells(row: Spent) -> "list[Cell]":
    """In the order of the columns, which is that of the fields."""
    return [getattr(row, field.name) for field in fields(row)]


def _duration(seconds: float | None) -> str:
    return duration(seconds) if seconds else ""
