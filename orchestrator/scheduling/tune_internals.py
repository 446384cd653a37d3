"""The internals of Ray Tune that a launch replaces while it runs: what workers get, and what their loss means."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import class_cache, tune_controller
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from orchestrator.scoped import attributes


@contextmanager
def tune_internals() -> Iterator[None]:
    """Inside this block Tune uses :class:`ActorManager`, and :func:`task_failed`, and passes workers no environment.

    It would pass those of the driver, cloud keys among them, in a runtime_env, which Ray writes into its logs. Nodes
    have keys of their own (preflight checks it), and local workers inherit them. Without a runtime_env an actor can
    also take one of the worker processes that Ray has started already.
    """
    with (
        attributes(class_cache, ENV_VARS_TO_PROPAGATE=set(), DEFAULT_ENV_VARS={}),
        attributes(tune_controller, RayActorManager=ActorManager),
        attributes(TuneController, _trial_task_failure=task_failed),
    ):
        yield


class ActorManager(RayActorManager):  # type: ignore[misc]
    """Ray's own, except that the memory monitor's error counts as the death of the actor, which it is.

    Ray's own ends the whole launch at any error that is neither of an actor nor of a task.
    """

    def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, _as_death(exception))

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        super()._actor_task_failed(tracked_actor_task, _as_death(exception))


def _as_death(exception: Exception) -> Exception:
    if not isinstance(exception, OutOfMemoryError):
        return exception
    death: Exception = RayActorError(error_msg=f"OutOfMemoryError: {exception}")
    return death


_task_failed = TuneController._trial_task_failure  # Ray's own


def task_failed(controller: Any, trial: Any, exception: Exception) -> None:
    """As Ray's own, except that a trial whose new worker was lost, or failed, while it took the trial just waits again.

    Such a worker was idle before: the trial has lost nothing, and no failure is counted. It always gets another worker,
    since each idle one is there because a trial has ended. Ray's own would take the trial up again and then fail it,
    because it is told of such a loss twice, as that of an actor and as that of a task.
    """
    if trial in controller._resetting_trials:
        controller._resetting_trials.discard(trial)
        if trial.status == Trial.PENDING:  # the actor lives: Ray has not set this itself yet
            controller._set_trial_status(trial, Trial.RUNNING)
            controller._unstage_trial_with_resources(trial)
        if trial.status == Trial.RUNNING:
            controller._try_recover(trial, exc=exception)
            return
    elif trial.status == Trial.PENDING:
        return  # it waits for a worker already: this is the second word of one loss
    _task_failed(controller, trial, exception)
