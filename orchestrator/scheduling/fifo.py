"""FIFO order of trials under ``reuse_actors``: the first pending one, unless an actor is being created for it."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.scheduling.drain import Drain


class ActorReuseFIFO(FIFOScheduler):  # type: ignore[misc]
    """Ray Tune's FIFO order, except that a trial whose actor is being created keeps it.

    With ``reuse_actors`` Tune gives an idle actor to the first pending trial and kills the actor that is being created
    for that trial. If trials are shorter than the creation of an actor, a launch never gets a second one.

    A trial that may not be taken up again after a failure is ended here: Tune has put it among those that wait.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The next trial to start; None if an actor is being created for every pending trial."""
        waiting = [trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING]
        for trial in waiting:
            if not trial.should_recover():
                tune_controller.stop_trial(trial)
        waiting = [trial for trial in waiting if trial.status == Trial.PENDING]
        return next((trial for trial in waiting if not _being_created(tune_controller, trial)), None)


class DrainableFIFO(ActorReuseFIFO):
    """Stops no trial early, except when the launch is drained."""

    def __init__(self, drain: Drain) -> None:
        super().__init__()
        self._drain = drain

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray asks whether the trial may go on."""
        return self._drain.decide(trial.config["trial"]["name"], TrialScheduler.CONTINUE)


def _being_created(tune_controller: Any, trial: Any) -> bool:
    """Whether an actor for ``trial`` has been given its resources; to drop one that waits for them costs nothing."""
    actor = tune_controller._trial_to_actor.get(trial)  # private, as the next: Tune has no public API for it
    return actor is not None and bool(tune_controller._actor_manager.is_actor_started(actor))
