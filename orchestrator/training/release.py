"""What a trial held is given back when it ends: another process may wait for the memory, the next trial needs it."""

import traceback

import torch


def clear_tracebacks(problem: BaseException) -> None:
    """Drop the local variables of every function that an exception has left: they refer to all that it worked with.

    What a traceback shows stays as it is.
    """
    waiting: list[BaseException | None] = [problem]
    seen: set[int] = set()
    while waiting:
        raised = waiting.pop()
        if raised is not None and id(raised) not in seen:
            seen.add(id(raised))
            traceback.clear_frames(raised.__traceback__)
            waiting += [raised.__cause__, raised.__context__]


def empty_device_cache() -> None:
    """Return what torch keeps of the GPU's memory for the next tensors, and none uses now."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
