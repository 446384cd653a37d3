"""The records of a trial: its epochs, how it ended, and the name of every metric."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

# Metrics of every epoch that other modules read. What is measured of images, these and more: training/metrics.py.
TRAIN_LOSS = "train/loss"  # mean of the loss that was optimised, over the images of the epoch
TRAIN_ACCURACY = "train/accuracy"  # fraction, on augmented images, while the weights still moved
VAL_LOSS = "val/loss"
VAL_ACCURACY = "val/accuracy"  # fraction
LR = "lr"  # the first parameter group's rate at the epoch's last step
EPOCH_SECONDS = "epoch_seconds"  # training and evaluation
IMAGES_PER_SECOND = "images_per_second"  # training only
EPOCH = "epoch"  # counts from 1

# Metrics of the whole trial, measured once on the chosen checkpoint.
TEST = "test/"  # what all metrics of the test split begin with
TEST_LOSS = "test/loss"
TEST_ACCURACY = "test/accuracy"  # fraction
BEST_EPOCH = "best_epoch"  # the epoch whose weights were chosen
PUBLISHED_BEST = "published/best_test_accuracy"  # chosen on the test set: for replication only, never compared

# Seconds of a forward pass per image, measured with the test split. Whatever else the machine does takes part.
FORWARD_SECONDS = "forward_seconds"  # of a batch of one image
FORWARD_SECONDS_BATCHED = "forward_seconds_batched"  # of a batch of the evaluation's size, on a CPU at most 64 images
FORWARD = (FORWARD_SECONDS, FORWARD_SECONDS_BATCHED)

# Metrics of the whole trial, written when it ends, so that a launch is read back without every trial's history.
EPOCHS = "epochs"  # trained
BEST_VAL_ACCURACY = "best_val_accuracy"  # fraction, at the chosen epoch
SECONDS = "epoch_seconds_total"  # of all epochs, whatever passed between them
EPOCHS_TO_TARGET = "epochs_to_target"  # the first epoch that reached the target accuracy; absent if none did

# Facts of the network, known before it trains.
PARAMETERS = "parameters"
MACS = "macs"
# A file store keeps a metric in a file of its name: no name is that of a folder, "receptive_field", in another.
RECEPTIVE_FIELD = "receptive_field/output"  # pixels, of the whole network's output
RECEPTIVE_FIELD_FEATURES = "receptive_field/features"  # pixels, of the last map before global pooling

# Of the machine in an epoch; MLflow shows what begins so apart from the rest.
SYSTEM = "system/"
CPU_UTILIZATION = SYSTEM + "cpu_utilization_percentage"  # of one core, by the trial's process
PROCESS_MEMORY = SYSTEM + "process_memory_peak_megabytes"  # resident, since the process began
GPU_UTILIZATION = SYSTEM + "gpu_utilization_percentage"
GPU_MEMORY = SYSTEM + "gpu_memory_peak_megabytes"  # of tensors

COMPUTED_IN = "computed_in"  # of a trial's machine: precision and kind of device, one after the other if it moved
TORCH_VERSION = "torch_version"  # of a trial's machine, likewise
THEN = ", then "  # between them
PREDICTIONS = "predictions.csv"  # a file of the trial folder, and an artifact: label and predicted class of each image
SEARCH, CONFIRM = "search", "confirm"  # the stages of a launch that has several

_INTERRUPTIONS = ("interrupted", "its driver was lost")  # what earlier versions gave as the reason of a stop


class Status(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"  # every epoch, or its target accuracy
    STOPPED = "stopped"  # a scheduler ended it early, which is as normal an end as the last epoch
    INTERRUPTED = "interrupted"  # its launch was ended from outside, and can be resumed
    FAILED = "failed"

    @staticmethod
    def recorded(status: str, reason: str) -> str:
        """The status that was recorded with ``reason``; earlier versions called an interrupted trial stopped."""
        interrupted = status == Status.STOPPED and reason.startswith(_INTERRUPTIONS)
        return str(Status.INTERRUPTED) if interrupted else status


class Failure(StrEnum):
    """Why a trial failed; each kind is handled differently."""

    INFRASTRUCTURE = "infrastructure"  # its worker or node was lost: resumed elsewhere, up to a limit
    OUT_OF_MEMORY = "out_of_memory"  # run again with a larger share, up to a limit
    DISK_FULL = "disk_full"  # ends it; what it had is kept, and resuming continues from it
    DIVERGED = "diverged"  # ends it: the same arithmetic would diverge again
    ERROR = "error"  # ends it: the network's or the user's own code raised


@dataclass(frozen=True, slots=True)
class Record:
    """One epoch of one trial.

    ``time`` is its creation time, in seconds since 1970. ``final`` marks the one record after the last epoch, with the
    evaluation on the test split. Every metric is a finite number; unknown ones are absent. Raises ValueError otherwise.
    """

    epoch: int
    time: float
    metrics: Mapping[str, float]
    final: bool = False

    def __post_init__(self) -> None:
        if odd := [name for name, value in self.metrics.items() if not math.isfinite(value)]:
            raise ValueError(f"not a finite number: {', '.join(odd)}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"epoch": self.epoch, "time": self.time, "final": self.final, "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Record":
        """Read what :meth:`to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        metrics = dict(plain["metrics"])
        if odd := [k for k, v in metrics.items() if isinstance(v, (str, bool))]:
            raise TypeError(f"not a number: {', '.join(map(str, odd))}")
        metrics = {str(k): float(v) for k, v in metrics.items()}
        return cls(int(plain["epoch"]), float(plain["time"]), metrics, bool(plain["final"]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one trial ended, and the folder of its files."""

    trial: str
    status: Status
    reason: str = ""
    folder: Path | None = None
    traceback: str = ""
    failure: Failure | None = None  # the kind, of a failed trial


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What an ended trial tells whoever decides about the next ones; accuracies are fractions."""

    status: Status  # complete, stopped by a scheduler, or failed; never an interrupted one
    epochs: int  # trained
    val_accuracy: float | None = None  # at the chosen epoch
    test_accuracy: float | None = None  # None unless measured
    seconds: float = 0.0  # of all epochs
    curve: Mapping[int, float] = field(default_factory=dict)  # validation accuracy by epoch


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial as commands print it; accuracies are fractions, seconds are those of its epochs, added up."""

    trial: str
    run_id: str
    variant: str
    seed: int
    status: str
    reason: str = ""
    epochs: int = 0
    parameters: int | None = None
    macs: int | None = None
    receptive_field: int | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    epochs_to_target: int | None = None
    sample: int | None = None  # index of the draw from the search space
    stage: str = ""  # of a launch in stages: search or confirm; of any other: nothing
    settings: Mapping[str, Any] = field(default_factory=dict)  # what was drawn, by dotted path
    planned_epochs: int | None = None  # a trial that was stopped early, or reached its target, has trained fewer
    forward_seconds: float | None = None  # per image, of one image at a time; of trials with a test accuracy
    forward_seconds_batched: float | None = None  # per image, in batches
    taken_over_from: str = ""  # the launch that trained it, as experiment/launch; "": this one
    computed_in: str = ""  # precision and kind of device, such as "bfloat16 on cuda"; several if it moved
    torch_version: str = ""  # that trained it; several if it was updated meanwhile


def of_split(split: str, measured: Mapping[str, float]) -> dict[str, float]:
    """``measured`` on the images of ``split``, as a record names it: ``{"loss": 0.5}`` is ``{"val/loss": 0.5}``."""
    return {f"{split}/{name}": value for name, value in measured.items()}


def by_epoch(records: Iterable[Record]) -> dict[int, dict[str, float]]:
    """All metrics of each epoch; the final measurements join those of the last epoch."""
    epochs: dict[int, dict[str, float]] = {}
    for record in records:
        epochs.setdefault(record.epoch, {}).update(record.metrics)
    return epochs


def as_csv(records: Sequence[Record]) -> str:
    """One row an epoch, with every metric that any epoch has."""
    rows = by_epoch(records)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["epoch", *columns])
    table.writerows([epoch, *(row.get(name, "") for name in columns)] for epoch, row in rows.items())
    return text.getvalue()


def varies(metric: str) -> bool:
    """Whether ``metric`` measures time or the machine, so that it differs when the same trial runs again."""
    return "second" in metric or metric.startswith(SYSTEM)


def summary(records: Iterable[Record], target: float) -> dict[str, float]:
    """The metrics of the whole trial from all its records; ``target``, a fraction, is what epochs are counted to."""
    every = list(records)
    epochs = {record.epoch: record.metrics for record in every if not record.final}
    judged = VAL_ACCURACY if any(VAL_ACCURACY in metrics for metrics in epochs.values()) else TEST_ACCURACY
    curve = {epoch: metrics[judged] for epoch, metrics in sorted(epochs.items()) if judged in metrics}
    found: dict[str, float] = {EPOCHS: max(epochs, default=0)}
    if seconds := [metrics[EPOCH_SECONDS] for metrics in epochs.values() if EPOCH_SECONDS in metrics]:
        found[SECONDS] = sum(seconds)
    if (reached := next((epoch for epoch, accuracy in curve.items() if accuracy >= target), None)) is not None:
        found[EPOCHS_TO_TARGET] = reached
    if curve and judged == VAL_ACCURACY:
        chosen = next((int(r.metrics[BEST_EPOCH]) for r in every if BEST_EPOCH in r.metrics), None)
        found[BEST_VAL_ACCURACY] = curve[chosen] if chosen in curve else max(curve.values())
    return found


class Listener(Protocol):
    """What observes a launch, such as the sink or the live table. Called on the driver, in order, from one thread.

    A class that inherits from it defines only what it observes.
    """

    def on_plan(self, trials: Sequence[str]) -> None:
        """The plan has grown by these trials, since others have ended."""
        return

    def on_start(self, trial: str, epoch: int = 1) -> None:
        """The trial has started to train, at ``epoch``; a resumed one at that after its last."""
        return

    def on_record(self, trial: str, record: Record) -> None:
        """The trial has finished an epoch, or its final evaluation."""
        return

    def on_end(self, outcome: Outcome) -> None:
        """The trial has ended."""
        return
