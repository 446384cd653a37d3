"""What changes while a network learns, copied between two epochs, to be written while the next one trains."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def snapshot(value: Any, into: Any = None) -> Any:
    """A copy of ``value``, nested mappings, lists and tensors, on the CPU, as it is now.

    ``into`` is an earlier snapshot that nobody reads any more: its tensors are written over where they fit. The pages
    of new memory cost several times what copying costs.
    """
    if isinstance(value, Tensor):
        return _tensor(value.detach(), into)
    if isinstance(value, Mapping):
        named = into if isinstance(into, Mapping) else {}
        return {key: snapshot(part, named.get(key)) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        before = into if isinstance(into, (list, tuple)) and len(into) == len(value) else [None] * len(value)
        return type(value)([snapshot(part, old) for part, old in zip(value, before, strict=True)])
    return copy.deepcopy(value)


def _tensor(value: Tensor, into: Any) -> Tensor:
    if isinstance(into, Tensor) and (into.shape, into.dtype, into.stride()) == (
        value.shape,
        value.dtype,
        value.stride(),
    ):
        return into.copy_(value)
    return torch.empty_like(value, device="cpu").copy_(value)
