"""Notes about settings without effect, because the chosen optimiser, schedule or scheduler does not have them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from orchestrator.experiment.suggestions.tpe import STARTUP
from orchestrator.scheduling.stop_rules import judged_epochs
from orchestrator.spec import Experiment, Optimizer, Recipe, Scheduler, TrialSpec, VerdictSettings
from orchestrator.text import counted, listed

ADAM = frozenset({"beta1", "beta2", "eps", "decay_vectors"})
OPTIMIZERS: Mapping[str, frozenset[str]] = {  # what each has besides name, lr and weight_decay
    "sgd": frozenset({"momentum", "nesterov", "decay_vectors"}),
    "adam": ADAM,
    "adamw": ADAM,
    "rmsprop": frozenset({"momentum", "alpha", "eps", "decay_vectors"}),
    "muon": ADAM - {"decay_vectors"} | {"momentum"},
}
SCHEDULES: Mapping[str, frozenset[str]] = {  # what each has besides name and interval
    "onecycle": frozenset(
        {"max_lr", "warmup", "div_factor", "final_div_factor", "anneal", "cycle_momentum", "total_steps"}
    ),
    "cosine": frozenset({"total_steps", "min_lr"}),
    "exponential": frozenset({"gamma"}),
    "step": frozenset({"gamma", "step_size"}),
    "plateau": frozenset({"gamma", "patience", "min_lr"}),
    "constant": frozenset(),
}
SCHEDULERS: Mapping[str, frozenset[str]] = {  # what each has besides name
    "fifo": frozenset(),
    "asha": frozenset({"grace_period", "reduction_factor"}),
    "hyperband": frozenset({"grace_period", "reduction_factor", "brackets"}),
    "median": frozenset({"grace_period", "min_samples"}),
}


def unused_settings(recipe: Recipe) -> list[str]:
    """One line per setting that was changed from its default and has no effect, and one for SGD's learning rate."""
    optimizer, schedule = recipe.optimizer, recipe.schedule
    notes = [
        *_unused("trainer.optimizer", optimizer, {"name", "lr", "weight_decay"} | OPTIMIZERS[optimizer.name]),
        *_unused("trainer.schedule", schedule, {"name", "interval"} | SCHEDULES[schedule.name]),
    ]
    if optimizer.name != "sgd" and optimizer.lr == Optimizer.lr:
        notes.append(f"trainer.optimizer.lr is {optimizer.lr:g}, a usual value for sgd but not for {optimizer.name}")
    return notes


def scheduler_notes(experiment: Experiment, planned: Sequence[TrialSpec] = ()) -> list[str]:
    """One line per setting of the scheduler that has no effect, and one if it stops nothing, or stops seeds.

    ``planned`` are the trials that are known so far: all of them, unless the search suggests others later.
    """
    scheduler, epochs = experiment.scheduler, experiment.trainer.epochs
    name, fewest = scheduler.name, scheduler.min_samples if scheduler.name == "median" else 1
    notes = list(_unused("scheduler", scheduler, {"name"} | SCHEDULERS[name]))
    if name == "fifo":
        return notes
    if scheduler.grace_period >= epochs:
        reason = f"scheduler.grace_period is {scheduler.grace_period}, trainer.epochs {epochs}"
        return [*notes, f"scheduler {name} stops no trial: {reason}"]
    search, counts = experiment.search, _trials_of_variants(experiment, planned)
    if few := {label: count for label, count in counts.items() if count <= fewest}:
        whose = "" if len(few) == len(counts) else f" of {listed(list(few), len(few))}"
        has = f"{'each variant' if not whose else 'each of these'} has {max(few.values())}"
        reason = f"{has}, and it compares one with at least {counted(fewest, 'other')} of its variant"
        more = "add a search or seeds" if search is None else "use more samples or seeds"
        notes.append(f"scheduler {name} stops no trial{whose}: {reason}; {more}")
    elif search is None:
        notes.append(
            f"scheduler {name} without a search stops seeds, so the mean over the others of the variant is too high; "
            "add a search, or use scheduler.name fifo"
        )
    possible = len(judged_epochs(scheduler, epochs)) + 1  # a bracket begins at each rung, and one has none
    if name == "hyperband" and possible < scheduler.brackets != Scheduler.brackets:
        notes.append(f"scheduler.brackets is {scheduler.brackets}, but with {epochs} epochs there are only {possible}")
    return notes


def _trials_of_variants(experiment: Experiment, planned: Sequence[TrialSpec]) -> dict[str, int]:
    """How many trials of each variant there will be, at most, that a scheduler may compare."""
    search, labels = experiment.search, [variant.label for variant in experiment.variants]
    if search is not None and planned and search.name != "tpe":
        known = Counter(spec.label for spec in planned)
        return {label: known[label] for label in labels}
    return dict.fromkeys(labels, len(experiment.seeds) * (1 if search is None else search.limit))


def plan_notes(experiment: Experiment) -> list[str]:
    """One line for each setting of the search and the verdict that cannot do what it is for."""
    search, verdict, notes = experiment.search, experiment.verdict, []
    if search is not None and search.name == "tpe" and (seen := search.limit - search.in_flight) < STARTUP:
        notes.append(
            f"search.name tpe draws at random until {STARTUP} settings have ended, and its last suggestion sees only "
            f"{max(seen, 0)}: use more samples, or a smaller concurrency"
        )
    if not verdict.until_decided:
        notes += [
            f"verdict.{name} has no effect without verdict.until_decided"
            for name in ("max_seeds", "max_gpu_seconds")
            if getattr(verdict, name) != getattr(VerdictSettings, name)
        ]
    return notes


def _unused(section: str, settings: Any, used: frozenset[str] | set[str]) -> Iterator[str]:
    for field in fields(settings):
        if field.name not in used and getattr(settings, field.name) != field.default:
            yield f"{section}.{field.name} has no effect: {settings.name} does not use it"
