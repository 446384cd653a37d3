"""How long a launch would take on this machine: every variant trains for a moment, as many at a time as the launch."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.experiment.stages import to_come
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.sharing.measure import side_by_side
from orchestrator.spec import Resources, TrialSpec
from orchestrator.text import counted, duration, listed
from orchestrator.workflow.check import Checked

SECONDS = 1.0  # of each measurement, once memory and kernels are settled
PATIENCE = 300.0  # seconds for that; a variant that trains no two epochs of 40 batches in them is not measured


@dataclass(frozen=True)
class Timing:
    """Of all trials of a launch that begins anew and stops none early, trained on this machine; None is unknown."""

    seconds: float | None
    at_a_time: int  # trials
    variants: Mapping[str, float | None] = field(default_factory=dict)  # seconds of each variant's trials
    reasons: tuple[str, ...] = ()  # why a variant could not be measured
    measured_at_a_time: int = 1  # trials; fewer than at_a_time where each has a GPU, or a part of one

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        trials = f"{counted(self.at_a_time, 'trial')} at a time"
        alone = (
            "; each variant was measured alone on a GPU, as if trials did not slow one another down: where they share "
            "one, it takes longer"
            if self.measured_at_a_time < self.at_a_time
            else ""
        )
        known = [f"{label} {duration(seconds)}" for label, seconds in self.variants.items() if seconds is not None]
        if self.seconds is None:
            some = f"; of the others: {listed(known, len(known))}" if known else ""
            return f"time on this machine, {trials}: unknown, because {'; '.join(self.reasons)}{some}"
        return (
            f"time on this machine, {trials}: about {duration(self.seconds)} of training ({', '.join(known)}), as "
            f"measured now; starting, reports and the test split come on top, and what stops early takes less{alone}"
        )


def measured(checked: Checked, log: Callable[[str], None] = lambda _: None) -> Timing:
    """Train every variant for a moment on random images of the dataset's size, with the settings of its first trial.

    Trials that results may make known count as the most that they can be.
    """
    node, resources = this_machine(), checked.plan.experiment.resources
    share = trial_resources(_of_plan(resources, checked), [node])
    later = to_come(checked.plan.experiment)
    further, trials = sum(one.seeds for one in later), len(checked.plan.trials) + sum(one.trials for one in later)
    at_a_time = min(slots(share, [node], resources.max_concurrent_trials), trials)
    # On GPUs one trial is measured, as if the others did not slow it down; cores share memory and caches.
    together = 1 if share.get("GPU") else at_a_time
    seconds: dict[str, float | None] = {}
    reasons = []
    for variant in checked.plan.experiment.variants:
        mine = [spec for spec in checked.plan.trials if spec.label == variant.label]
        epochs = sum(spec.trainer.epochs for spec in mine) + further * max(spec.trainer.epochs for spec in mine)
        log(f"measuring {variant.label}: {counted(together, 'trial')} side by side")
        speed, reason = _speed(mine[0], checked, together)
        reasons += [f"{variant.label} could not be measured ({reason})"] if speed is None else []
        images = epochs * len(checked.dataset.train) * together / at_a_time
        seconds[variant.label] = None if speed is None else images / speed
    known = [one for one in seconds.values() if one is not None]
    return Timing(None if reasons else sum(known), at_a_time, seconds, tuple(reasons), together)


def this_machine() -> dict[str, float]:
    """What trials may use here, as Ray counts it."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"CPU": float(cores), "GPU": float(torch.cuda.device_count())}


def _of_plan(resources: Resources, checked: Checked) -> Resources:
    """The resources with which the trials are planned: without GPUs if all of them train on the CPU."""
    return checked.proposals.experiment.resources if resources.gpus == "auto" else resources


def _speed(spec: TrialSpec, checked: Checked, together: int) -> tuple[float | None, str]:
    """Images a second of ``together`` such trials in all, or None and why."""
    shape, classes = checked.dataset.shape, len(checked.dataset.classes)
    found = side_by_side(spec, shape, classes, together, SECONDS, patience=PATIENCE)
    return (found.images_per_second, "") if found.images_per_second else (None, found.reason)
