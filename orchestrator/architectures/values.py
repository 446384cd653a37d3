"""A text for a value that a network's code uses: the same for equal values in any process."""

import argparse
import functools
import hashlib
import re
import types
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from typing import Any

from orchestrator.architectures.loaded import own_folder

PLAIN = (bool, int, float, complex, str, bytes, range, slice, re.Pattern, PurePath, type(None), type(Ellipsis))
COMPILED = ("builtins", "numpy", "torch._ops")  # modules of the types of functions that are not written in Python
DEPTH = 100  # of values within one another


class OpaqueValueError(Exception):
    """No text tells this value from others; the message is its type."""


def as_text(value: Any, refer: Callable[[Any], str], depth: int = DEPTH) -> str:
    """The text of ``value``; ``refer`` returns that of a module, class or function within it.

    Raises OpaqueValueError if there is none.
    """
    if isinstance(value, (types.ModuleType, type, types.FunctionType)):
        return refer(value)
    if type(value) in PLAIN or isinstance(value, PurePath):
        return repr(value)
    if depth == 0:  # it holds itself
        raise OpaqueValueError(type(value).__qualname__)

    def text(part: Any) -> str:
        return as_text(part, refer, depth - 1)

    if isinstance(value, (set, frozenset)):
        return f"{type(value).__qualname__} {sorted(map(text, value))}"
    parts = _parts(value)
    attributes = getattr(value, "__dict__", None)
    unsaid = parts is None or (attributes and isinstance(value, (list, tuple, dict)))
    if attributes is not None and unsaid and _is_own(value):
        parts = [*(parts or []), attributes]
    if parts is not None:
        of = refer(type(value)) if type(value).__module__ != "builtins" else type(value).__qualname__
        return f"{of} {[text(part) for part in parts]}"
    shown = _of_torch(value) or _name(value)
    if shown is None:
        raise OpaqueValueError(type(value).__qualname__)
    return shown


def _parts(value: Any) -> list[Any] | None:
    """What a value consists of; None if that is not known."""
    if isinstance(value, Enum):
        return [value.name]
    if isinstance(value, (bool, int, float, complex, str, bytes)):  # of a class of its own
        kind: Any = next(kind for kind in PLAIN if isinstance(value, kind))
        return [kind.__repr__(value)]
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (dict, types.MappingProxyType)):
        return [part for item in value.items() for part in item]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, (types.SimpleNamespace, argparse.Namespace)):
        return [vars(value)]
    if isinstance(value, functools._lru_cache_wrapper):
        return [value.__wrapped__]
    if isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, (types.ModuleType, type)):
        return [value.__qualname__, value.__self__]
    if _is_layer(value):
        return _parts_of_layer(value)
    return None


def _parts_of_layer(layer: Any) -> list[Any]:
    """What it shows, its tensors, and of the user's own classes the attributes, which may be in neither."""
    from torch import nn

    saved, every = layer.state_dict(), vars(nn.Module())
    unsaved = [item for item in layer.named_buffers() if item[0] not in saved]
    own = [part for part in layer.modules() if _is_own(part)]
    attributes = [{name: one for name, one in vars(part).items() if name not in every} for part in own]
    return [repr(layer), *saved.items(), *unsaved, *(found for found in attributes if found)]


def _is_own(value: Any) -> bool:
    """Whether its class is the user's."""
    module = type(value).__module__
    return module == "__main__" or own_folder(module) is not None


def _is_layer(value: Any) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


def _of_torch(value: Any) -> str | None:
    """The text of a tensor or array, or of what torch and numpy have for the type of its numbers and its place."""
    import numpy as np
    import torch

    if isinstance(value, (torch.dtype, torch.device, torch.memory_format, np.dtype)):
        return repr(value)
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            return None
        try:
            plain = value.detach().cpu().resolve_conj().resolve_neg()
            content = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
        except RuntimeError as problem:  # such as a nested tensor
            raise OpaqueValueError(type(value).__qualname__) from problem
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        content = value.tobytes()
    else:
        return None
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()}"


def _name(value: Any) -> str | None:
    """That of a function which is not written in Python, or of a type as it is annotated."""
    if type(value).__module__ in ("typing", "types"):
        return repr(value)
    if type(value).__module__ not in COMPILED:  # what it calls may be the user's
        return None
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return f"{getattr(value, '__module__', None)}.{name}" if callable(value) and isinstance(name, str) else None
