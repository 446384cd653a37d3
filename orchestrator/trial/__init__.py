"""One trial: a specification and data in, a trial folder out. No Ray, no MLflow, no YAML."""

from typing import TYPE_CHECKING

from orchestrator import lazy

if TYPE_CHECKING:
    from orchestrator.trial.background import BackgroundWriter
    from orchestrator.trial.folder import TrialFolder
    from orchestrator.trial.run import run_trial, training_indices

__all__ = [
    "BackgroundWriter",
    "TrialFolder",
    "run_trial",
    "training_indices",
]
__getattr__ = lazy.names(
    __name__,
    {
        "BackgroundWriter": "background",
        "TrialFolder": "folder",
        "run_trial": "run",
        "training_indices": "run",
    },
)
