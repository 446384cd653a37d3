"""What a network's state dict may hold, and taking one up again."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# What a checkpoint gives back without pickle, to the bit and of the same type; a subclass would not come back as such.
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)
_MAPPINGS, _LISTS = (dict, OrderedDict), (list, tuple, torch.Size)


def load_weights(network: nn.Module, weights: Mapping[str, Any]) -> None:
    """Take up a state dict of ``network``, with the versions of its modules, which a checkpoint does not hold."""
    whole: Any = OrderedDict(weights)
    whole._metadata = getattr(network.state_dict(), "_metadata", {})
    network.load_state_dict(whole)


def state_problem(network: nn.Module) -> str | None:
    """Why the state of ``network`` cannot be kept in a checkpoint, or None."""
    try:
        state = network.state_dict()
    except Exception as problem:  # a user's hooks and get_extra_state may raise anything
        return f"its state_dict fails: {type(problem).__name__}: {problem}"
    return no_plain_data(state, "its state_dict")


def no_plain_data(value: Any, where: str) -> str | None:
    """What in ``value`` is neither a tensor, a number, text, a list nor a mapping of these, or None."""
    if isinstance(value, Tensor) or type(value) in _PLAIN:
        return None
    if type(value) in _MAPPINGS:
        if odd := next((key for key in value if type(key) not in (str, int, float, bool)), None):
            return f"{where} has a key of the kind {_kind(odd)}; allowed are text and numbers"
        problems = (no_plain_data(part, f"{where}[{key!r}]") for key, part in value.items())
    elif type(value) in _LISTS:
        problems = (no_plain_data(part, f"{where}[{position}]") for position, part in enumerate(value))
    else:
        allowed = "tensors, numbers, text, and lists and mappings of these"
        return f"{where} is of the kind {_kind(value)}, which a checkpoint cannot keep: allowed are {allowed}"
    return next((problem for problem in problems if problem), None)


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
