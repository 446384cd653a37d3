"""The shared words as frozen dataclasses: experiment, trial, recipe, contract. Standard library only."""

from orchestrator.spec.distribution import Distribution
from orchestrator.spec.experiment import (
    Contract,
    Experiment,
    Failures,
    Resources,
    Tracking,
    Variant,
)
from orchestrator.spec.plan import Plan
from orchestrator.spec.published import Published
from orchestrator.spec.recipe import Optimizer, Recipe, Schedule
from orchestrator.spec.scheduler import Scheduler
from orchestrator.spec.search import Confirm, Search
from orchestrator.spec.trial import DatasetSpec, SplitNames, TrialSpec, digest, label_of, variant_label
from orchestrator.spec.verdict import VerdictSettings

__all__ = [
    "Confirm",
    "Contract",
    "DatasetSpec",
    "Distribution",
    "Experiment",
    "Failures",
    "Optimizer",
    "Plan",
    "Published",
    "Recipe",
    "Resources",
    "Schedule",
    "Scheduler",
    "Search",
    "SplitNames",
    "Tracking",
    "TrialSpec",
    "Variant",
    "VerdictSettings",
    "digest",
    "label_of",
    "variant_label",
]
