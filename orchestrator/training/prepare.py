"""A network made ready to learn where it was placed: moved, laid out, its slow layers computed better.

Names, weights and state dict stay what they are: only how a layer computes what it computes changes.
"""

import ctypes

from torch import nn

from orchestrator.training.convolutions import quicker_form
from orchestrator.training.device import Placement
from orchestrator.training.dropout import SparseDropout

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = 2**31 - 1  # bytes of freed memory that stay with the process; the most that mallopt takes


def prepare(network: nn.Module, placement: Placement) -> None:
    """Move the network to its device and layout, exchange layers for equal ones; on a CPU, keep freed memory."""
    network.to(device=placement.device, memory_format=placement.memory_format)  # type: ignore[call-overload]
    exchange_layers(network, placement.device.type)
    if placement.device.type == "cpu":
        keep_memory()


def exchange_layers(network: nn.Module, device: str = "cpu") -> None:
    """Let torch's own convolutions and dropout layers compute as their quicker forms; a user's subclasses are left."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = quicker_form(layer, device)
        elif type(layer) is nn.Dropout and device == "cpu":
            layer.__class__ = SparseDropout


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    Otherwise every large tensor comes from the system page by page, each filled with zeros first, and goes back at
    once: a fifth of the time of a network with large maps.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _KEPT)
