"""Ray Tune: spreads a plan's trials over the machine or the cluster."""

from typing import TYPE_CHECKING

from orchestrator import lazy

if TYPE_CHECKING:
    from orchestrator.scheduling.launch import Launch, run_launch
    from orchestrator.scheduling.session import ray_session

__all__ = [
    "Launch",
    "ray_session",
    "run_launch",
]
__getattr__ = lazy.names(
    __name__,
    {
        "Launch": "launch",
        "ray_session": "session",
        "run_launch": "launch",
    },
)
