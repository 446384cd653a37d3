"""Copies of a network that can be run without touching the network itself."""

import copy
from typing import Any

import torch
from torch import nn

from orchestrator.analysis.record import tensors_in


def dtype_of(network: nn.Module) -> torch.dtype:
    """Of the network's parameters; images are given to it in the same."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def copy_on(network: nn.Module, device: str) -> nn.Module:
    """A copy whose tensors are on ``device``: on the meta device it takes no memory for weights."""
    memo: dict[int, Any] = {}
    for module in network.modules():
        held = [vars(module), *(value for value in vars(module).values() if isinstance(value, dict))]
        for tensor in tensors_in([list(attributes.values()) for attributes in held]):
            moved = tensor.detach().to("meta") if device == "meta" else tensor.detach().clone().to(device)
            memo[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
    try:
        return copy.deepcopy(network, dict(memo))
    except Exception:  # an attribute that cannot be copied (a lock, a file) is shared instead
        for module in network.modules():
            for value in vars(module).values():
                if not _can_be_copied(value, memo):
                    memo[id(value)] = value
        return copy.deepcopy(network, memo)


def _can_be_copied(value: Any, memo: dict[int, Any]) -> bool:
    if isinstance(value, dict) and any(isinstance(item, nn.Module) for item in value.values()):
        return True  # its children are looked at on their own
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # whatever an object raises that does not want to be copied
        return False
    return True
