"""Notes about settings of a recipe that have no effect, because the chosen optimiser or schedule does not have them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from orchestrator.spec import Optimizer, Recipe

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


def unused_settings(recipe: Recipe) -> list[str]:
    """One line per setting that was changed from its default and has no effect, and one for SGD's learning rate."""
    optimizer, schedule = recipe.optimizer, recipe.schedule
    notes = [
        *_unused("optimizer", optimizer, {"name", "lr", "weight_decay"} | OPTIMIZERS[optimizer.name]),
        *_unused("schedule", schedule, {"name", "interval"} | SCHEDULES[schedule.name]),
    ]
    if optimizer.name != "sgd" and optimizer.lr == Optimizer.lr:
        notes.append(f"trainer.optimizer.lr is {optimizer.lr:g}, a usual value for sgd but not for {optimizer.name}")
    return notes


def _unused(section: str, settings: Any, used: frozenset[str] | set[str]) -> Iterator[str]:
    for field in fields(settings):
        if field.name not in used and getattr(settings, field.name) != field.default:
            yield f"trainer.{section}.{field.name} has no effect: {settings.name} does not use it"
