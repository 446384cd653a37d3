"""The internals of Ray Tune that a launch replaces while it runs: its actor manager, and what it passes to workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import class_cache, tune_controller

from orchestrator.scoped import attributes


@contextmanager
def tune_internals() -> Iterator[None]:
    """Inside this block Tune uses :class:`ActorManager` and passes no environment variables to workers.

    It would pass those of the driver, cloud keys among them, in a runtime_env, which Ray writes into its logs. Nodes
    have keys of their own (preflight checks it), and local workers inherit them. Without a runtime_env an actor can
    also take one of the worker processes that Ray has started already.
    """
    with (
        attributes(class_cache, ENV_VARS_TO_PROPAGATE=set(), DEFAULT_ENV_VARS={}),
        attributes(tune_controller, RayActorManager=ActorManager),
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
