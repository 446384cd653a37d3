"""Exceptions that say what the machine lacks, memory, a device or a file, and nothing about the network."""

import torch

# torch's CPU allocator raises a plain RuntimeError; the GPU's says "out of memory", its libraries have their own words.
_LACKING_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN had no room for any engine's workspace
)


def lacks_memory(problem: BaseException) -> bool:
    """Whether memory was lacking, on a CPU or a GPU."""
    if isinstance(problem, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in _LACKING_MEMORY)


def is_of_machine(problem: BaseException) -> bool:
    """Whether a network that has raised this may work at another time, or on another machine."""
    return lacks_memory(problem) or isinstance(problem, (OSError, torch.AcceleratorError))
