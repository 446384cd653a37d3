"""From an experiment file to a plan: strict reading, overrides, and every trial spelled out."""

from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import json_schema, read_experiment, read_file

__all__ = ["apply_overrides", "json_schema", "make_plan", "read_experiment", "read_file"]
