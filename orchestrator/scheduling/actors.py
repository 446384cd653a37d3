"""Tune's actors, and what a kill by Ray's memory monitor means for them."""

from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError


class Actors(RayActorManager):  # type: ignore[misc]
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
