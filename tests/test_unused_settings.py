"""A setting that the chosen optimiser or schedule does not have is named before anything is trained."""

from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from orchestrator.spec import Optimizer, Recipe, Schedule
from orchestrator.workflow.unused_settings import OPTIMIZERS, SCHEDULES, unused_settings


def test_every_optimiser_and_schedule_is_known_by_settings_that_exist() -> None:
    for kind, table in ((Optimizer, OPTIMIZERS), (Schedule, SCHEDULES)):
        assert set(table) == set(get_args(get_type_hints(kind)["name"]))
        assert set().union(*table.values()) <= {field.name for field in fields(kind)}


@pytest.mark.parametrize(
    ("recipe", "notes"),
    [
        (Recipe(), []),
        (Recipe(optimizer=Optimizer(momentum=0.5, nesterov=True)), []),
        (
            Recipe(optimizer=Optimizer(name="adam", lr=0.001, momentum=0.5)),
            ["trainer.optimizer.momentum has no effect: adam does not use it"],
        ),
        (
            Recipe(schedule=Schedule(name="step", warmup=0.1)),
            ["trainer.schedule.warmup has no effect: step does not use it"],
        ),
        (
            Recipe(optimizer=Optimizer(name="adamw")),
            ["trainer.optimizer.lr is 0.1, a usual value for sgd but not for adamw"],
        ),
    ],
)
def test_what_has_no_effect_is_named(recipe: Recipe, notes: list[str]) -> None:
    assert unused_settings(recipe) == notes
