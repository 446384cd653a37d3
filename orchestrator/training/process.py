"""Process-wide settings that a training needs, undone after it: those of torch, and what is done with freed memory."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.architectures.torch_settings import defaults, put, settings_restored
from orchestrator.scoped import environment
from orchestrator.spec import Recipe
from orchestrator.training.device import resolve_device
from orchestrator.training.host_state import random_states_kept

# Parameters of glibc's mallopt, from malloc.h, with their usual values.
_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD = -1, 128 * 1024  # bytes at the heap's end that stay with the process
_MMAP_MAX, _USUAL_MMAP_MAX = -4, 65_536  # blocks that may be mapped one by one
_MOST = 2**31 - 1  # the largest value that mallopt takes


@contextmanager
def training_process(recipe: Recipe) -> Iterator[None]:
    """Inside this block torch computes as ``recipe`` says, whatever the process did before.

    After it, torch's settings and every global random number generator are as before.
    Raises ResourceError if the recipe's device is not there.
    """
    on_cpu = resolve_device(recipe.device).type == "cpu"
    cublas = {"CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8")}  # read when it starts
    with environment(cublas), settings_restored(), random_states_kept():
        compute_as(recipe)
        if on_cpu:
            _set_allocator(_MOST, 0)
        try:
            yield
        finally:
            if on_cpu:
                _set_allocator(_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX)


def compute_as(recipe: Recipe) -> None:
    """Give torch's settings the values of every trial of ``recipe``: torch's own defaults but for what it says.

    An operation that has no deterministic form warns instead of failing. If the recipe is not ``deterministic``, torch
    tries which kernels are fastest.
    """
    exact = recipe.deterministic
    said = {"cudnn.benchmark": not exact, "cudnn.deterministic": exact, "deterministic": int(exact), "fill": False}
    threads = {} if recipe.threads == "auto" else {"threads": recipe.threads}
    put({**defaults(), **said, **threads})


def _set_allocator(trim_threshold: int, mmap_max: int) -> None:
    """Set how much freed memory this process keeps and how many blocks come from the system, if its C library is glibc.

    By default every large tensor comes from the system page by page, each filled with zeros first, and goes back at
    once: on one core a fifth of the processor time of the variant dilated_separable, a tenth of that of stride.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_MAX, mmap_max)
        libc.mallopt(_TRIM_THRESHOLD, trim_threshold)
        libc.malloc_trim(0)
