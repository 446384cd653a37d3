"""Whose turn it is: trials begin in the plan's order, and no worker that is starting is ended for one that is free."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class InTurn(FIFOScheduler):  # type: ignore[misc]
    """Ray's choice of the next trial, but for those whose worker is starting.

    Ray would give a worker that has become free the first trial that waits, and end the worker that starts for it:
    while trials are shorter than the start of a worker, the launch would never get its second one.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Ray asks which trial is to begin; None where every trial that waits has a worker on its way."""
        waiting = (trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING)
        return next((trial for trial in waiting if not _worker_starts(tune_controller, trial)), None)


def _worker_starts(tune_controller: Any, trial: Any) -> bool:
    """Whether a worker for ``trial`` has its resources: of those that Ray has only asked for, none is lost."""
    actor = tune_controller._trial_to_actor.get(trial)  # Tune has no public word for this, nor for the next
    return actor is not None and bool(tune_controller._actor_manager.is_actor_started(actor))
