"""One trial: a specification and data in, a trial folder out. No Ray, no MLflow, no YAML."""

from orchestrator.trial.folder import TrialFolder
from orchestrator.trial.run import run_trial, training_indices

__all__ = ["TrialFolder", "run_trial", "training_indices"]
