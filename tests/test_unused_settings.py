"""A setting that the chosen optimiser, schedule or scheduler does not have is named before anything is trained."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment.reader import read_experiment
from orchestrator.spec import Optimizer, Recipe, Schedule, Scheduler
from orchestrator.workflow.check import check_experiment
from orchestrator.workflow.display import Display
from orchestrator.workflow.train import train
from orchestrator.workflow.unused_settings import (
    OPTIMIZERS,
    SCHEDULERS,
    SCHEDULES,
    scheduler_notes,
    unused_settings,
)


def test_every_optimiser_schedule_and_scheduler_is_known_by_settings_that_exist() -> None:
    for kind, table in ((Optimizer, OPTIMIZERS), (Schedule, SCHEDULES), (Scheduler, SCHEDULERS)):
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


SEARCH = {"samples": 8, "space": {"trainer.optimizer.lr": {"loguniform": [0.01, 0.1]}}}


@pytest.mark.parametrize(
    ("scheduler", "changes", "notes"),
    [
        ({}, {}, []),
        ({"name": "asha", "grace_period": 2, "reduction_factor": 2}, {"search": SEARCH}, []),
        ({"name": "hyperband"}, {"search": SEARCH, "trainer": {"epochs": 3}}, []),
        ({"grace_period": 2}, {}, ["scheduler.grace_period has no effect: fifo does not use it"]),
        (
            {"name": "median", "reduction_factor": 4, "brackets": 2},
            {"search": SEARCH},
            [
                "scheduler.reduction_factor has no effect: median does not use it",
                "scheduler.brackets has no effect: median does not use it",
            ],
        ),
        (
            {"name": "asha", "grace_period": 9},
            {"search": SEARCH},
            ["scheduler asha stops no trial: scheduler.grace_period is 9, trainer.epochs 9"],
        ),
        (
            {"name": "median"},
            {"seeds": [0, 1, 2]},
            [
                "scheduler median stops no trial: each variant has 3, and it compares one with at least 3 others of "
                "its variant; add a search or seeds"
            ],
        ),
        (
            {"name": "asha"},
            {"seeds": [0, 1]},
            [
                "scheduler asha without a search stops seeds, so the mean over the others of the variant is too high; "
                "add a search, or use scheduler.name fifo"
            ],
        ),
        (
            {"name": "median"},
            {"search": {**SEARCH, "samples": 3}},
            [
                "scheduler median stops no trial: each variant has 3, and it compares one with at least 3 others of "
                "its variant; use more samples or seeds"
            ],
        ),
        ({"name": "median"}, {"search": {**SEARCH, "samples": 4}}, []),
        ({"name": "median"}, {"search": {**SEARCH, "samples": 2}, "seeds": [0, 1]}, []),
        ({"name": "median", "min_samples": 2}, {"search": {**SEARCH, "samples": 3}}, []),
        (
            {"name": "asha"},
            {"search": {**SEARCH, "samples": 1}},
            [
                "scheduler asha stops no trial: each variant has 1, and it compares one with at least 1 other of its "
                "variant; use more samples or seeds"
            ],
        ),
        (
            {"name": "hyperband", "brackets": 5},
            {"search": SEARCH},
            ["scheduler.brackets is 5, but with 9 epochs there are only 3"],
        ),
    ],
)
def test_a_scheduler_that_does_less_than_it_seems_to_says_so(
    scheduler: dict[str, Any], changes: dict[str, Any], notes: list[str]
) -> None:
    tree = {"name": "x", "variants": ["stride"], "trainer": {"epochs": 9}, "scheduler": scheduler, **changes}
    assert scheduler_notes(read_experiment(tree, "x")) == notes


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_what_judges_by_validation_is_refused_where_there_is_none(name: str) -> None:
    tree = {"name": "x", "variants": ["stride"], "trainer": {"protocol": "published"}, "scheduler": {"name": name}}
    with pytest.raises(ExperimentError, match=f"scheduler: {name} needs validation accuracy"):
        read_experiment(tree, "x")


def test_of_a_grid_the_settings_are_counted(tmp_path: Path) -> None:
    lr = {"trainer.optimizer.lr": {"choice": [0.1, 0.2, 0.3]}}
    tree: dict[str, Any] = {
        "name": "x",
        "variants": ["stride", "grouped_concat"],
        "dataset": {"name": "digits"},
        "trainer": {"epochs": 9},
        "scheduler": {"name": "median"},
        "search": {"name": "grid", "space": lr},
    }
    said: list[str] = []
    check_experiment(read_experiment(tree, "x"), tmp_path, said.append)
    assert len([line for line in said if line.startswith("scheduler median stops no trial: each variant has 3,")]) == 1
    few = {"trainer.optimizer.nesterov": {"choice": [True, False], "variants": ["stride"]}}
    tree["search"] = {"name": "grid", "per": "variant", "space": lr | few}
    checked = check_experiment(read_experiment(tree, "x"), tmp_path, said.append)
    assert "scheduler median stops no trial of grouped_concat: each of these has 3, and" in " ".join(checked.notes)


def test_a_pipeline_that_runs_image_by_image_is_told_of_once(tmp_path: Path, packed: Path, network_file: Path) -> None:
    tiny = f"{network_file}:Tiny"
    tree: dict[str, Any] = {
        "name": "x",
        "variants": [tiny],
        "seeds": [0, 1],
        "dataset": {"name": str(packed)},
        "trainer": {"augmentation": [{"HorizontalFlip": {}}, {"RandomBrightnessContrast": {}}]},
    }
    said: list[str] = []
    checked = check_experiment(read_experiment(tree, "x"), tmp_path, said.append)
    (line,) = [line for line in said if "Albumentations" in line]
    assert "no compiled form of RandomBrightnessContrast" in line
    assert line in checked.notes
    tree["trainer"] = {"augmentation": [{"HorizontalFlip": {}}]}
    assert not [n for n in check_experiment(read_experiment(tree, "x"), tmp_path, said.append).notes if "Albume" in n]
    said.clear()
    overrides = ["trainer.epochs=1", 'trainer.augmentation=[{"RandomBrightnessContrast": {}}]']
    trial = {"variant": tiny, "dataset": {"name": str(packed)}}
    train(trial, overrides, out=tmp_path / "t", data_dir=tmp_path, report=False, display=Said(said))
    assert len([line for line in said if "no compiled form of RandomBrightnessContrast" in line]) == 1


class Said(Display):
    """Keeps what is said."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def log(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)
