"""Whether a network can be computed in two other ways: channels last, and in reduced precision under autocast."""

from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.architectures.crash import crash
from orchestrator.redact import redact
from orchestrator.training.host_state import random_states_kept
from orchestrator.training.loss import classification_loss
from orchestrator.training.machine_faults import is_of_machine

Shape = tuple[int, int, int]  # channels, height, width
FEW = 2  # images that are tried first, which is quick; a network may need a whole batch


def channels_last_problem(network: nn.Module, shape: Shape, batch_size: int) -> str:
    """Why ``network`` cannot be trained or evaluated channels last, while it can be otherwise; empty if it is not so.

    It is tried on the CPU, since the meta device does not see it, with ``FEW`` images of ``shape`` or, where no layout
    works with these, with ``batch_size``. No random state moves, but the state of ``network`` does: give one to spare.
    What the machine lacks says nothing about the network, and is raised.
    """
    return _only_so(network, shape, batch_size, layout=torch.channels_last)


def autocast_problem(network: nn.Module, shape: Shape, batch_size: int) -> str:
    """Why ``network`` cannot be trained or evaluated in bfloat16 under autocast, tried as for the layout."""
    return _only_so(network, shape, batch_size, precision=torch.bfloat16)


def _only_so(network: nn.Module, shape: Shape, batch_size: int, **way: Any) -> str:
    """Why the network fails where it is computed this ``way``; empty if it works, or fails in float32 as well."""
    with random_states_kept():
        for images in dict.fromkeys((min(FEW, batch_size), batch_size)):
            batch = torch.randn(images, *shape, generator=torch.Generator().manual_seed(0))
            problem = _problem(network, batch, **way)
            if problem is None:
                return ""
            if _problem(network, batch) is None:
                return redact(crash(problem))
    return ""  # it fails in any way, which is said elsewhere


def _problem(
    network: nn.Module,
    batch: Tensor,
    layout: torch.memory_format = torch.contiguous_format,
    precision: torch.dtype = torch.float32,
) -> Exception | None:
    try:
        network.to(memory_format=layout)  # type: ignore[call-overload]
        images = batch.contiguous(memory_format=layout)
        network.train()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, _ = classification_loss(network(images.clone()), torch.zeros(len(batch), dtype=torch.int64))
        loss.backward()
        network.eval()
        with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
            network(images)
    except Exception as problem:  # whatever a user's network raises
        if is_of_machine(problem):
            raise
        return problem
    return None
