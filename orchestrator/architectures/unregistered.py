"""Layers and parameters that a network uses and torch does not know of, such as those in a plain list."""

from collections.abc import Iterator
from typing import Any

from torch import nn

TORCHS_OWN = set(vars(nn.Module()))


def unregistered(network: nn.Module) -> tuple[str, ...]:
    """Where ``network`` holds layers with parameters, or parameters, that are no part of it: paths of attributes.

    Torch registers what is itself an attribute, and what is in a `ModuleList`, `ModuleDict`, `ParameterList` and the
    like; the rest is neither trained nor counted, and in no checkpoint.
    """
    known = {id(part) for part in (*network.modules(), *network.parameters())}
    return tuple(
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        for name, value in vars(module).items()
        if name not in TORCHS_OWN and any(id(part) not in known for part in _parts(value))
    )


def _parts(value: Any, depth: int = 3) -> Iterator[nn.Module | nn.Parameter]:
    """The layers with parameters, and the trainable parameters, in lists and mappings within ``value``."""
    if (isinstance(value, nn.Parameter) and value.requires_grad) or (
        isinstance(value, nn.Module) and any(parameter.requires_grad for parameter in value.parameters())
    ):
        yield value
    elif depth and isinstance(value, (list, tuple, set, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part, depth - 1)
