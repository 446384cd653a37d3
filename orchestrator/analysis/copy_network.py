"""Copies of a network that can be run without touching the network itself."""

import copy
import types
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

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
            if is_lazy(tensor):
                continue  # it has no values yet
            moved = tensor.detach().to("meta") if device == "meta" else tensor.detach().clone().to(device)
            memo[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
    try:
        shared, copied = _copied(network, memo)
    except Exception:  # an attribute that cannot be copied (a lock, a file) is shared instead
        for module in network.modules():
            for value in vars(module).values():
                if not _can_be_copied(value, memo):
                    memo[id(value)] = value
        shared, copied = _copied(network, memo)
    _separate_functions(copied, shared)
    return copied


def _copied(network: nn.Module, memo: dict[int, Any]) -> tuple[dict[int, Any], nn.Module]:
    """What was copied to what, by id, and the copy."""
    made = dict(memo)
    return made, copy.deepcopy(network, made)


def _separate_functions(copied: nn.Module, made: dict[int, Any]) -> None:
    """Let functions that ``copied`` holds, hooks for example, refer to the copy of what they have captured.

    A copy of a function is the function itself: a hook that writes to ``self`` would write to the network.
    """
    for module in copied.modules():
        attributes = vars(module)
        for held in (attributes, *(value for value in attributes.values() if isinstance(value, dict))):
            for name, value in list(held.items()):
                if isinstance(value, types.FunctionType) and value.__closure__:
                    held[name] = _with_copied_closure(value, made)


def _with_copied_closure(function: types.FunctionType, made: dict[int, Any]) -> types.FunctionType:
    try:
        captured = tuple(types.CellType(copy.deepcopy(cell.cell_contents, made)) for cell in function.__closure__ or ())
    except Exception:  # as above, or a variable without a value
        return function
    parts = function.__code__, function.__globals__, function.__name__, function.__defaults__, captured
    separate = types.FunctionType(*parts)
    separate.__kwdefaults__, separate.__dict__ = function.__kwdefaults__, function.__dict__
    return separate


def _can_be_copied(value: Any, memo: dict[int, Any]) -> bool:
    if isinstance(value, dict) and any(isinstance(item, nn.Module) for item in value.values()):
        return True  # its children are looked at on their own
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # whatever an object raises that does not want to be copied
        return False
    return True
