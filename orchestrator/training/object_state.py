"""The state of a Python object as a list that can be compared: all that a copy of it would take over."""

import copyreg
import logging
import types
import weakref
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

MOST = 1_000_000  # values looked at, a second or two: an object may lead to half of the process

_PLAIN = (bool, int, str, bytes, type(None))
_FIXED = (type, types.ModuleType, types.CodeType, property, staticmethod, classmethod, logging.Logger)


class UnreadableError(Exception):
    """The state of an object cannot be known; the text names its type."""


class Same:
    """Equal to another one of the same object, which is kept alive: no new object can be given its address."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


class _Values:
    """Equal to another one of the same numbers: what was made in inference mode does not count its changes."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.clone()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Values) and torch.equal(self.tensor, other.tensor)

    __hash__ = None  # type: ignore[assignment]


def state_of(value: Any, known: Collection[int] = ()) -> list[Any]:
    """Equal before and after as long as nothing has changed that ``value`` leads to. Raises UnreadableError.

    ``known``: ids of modules and tensors of which it only matters that they are the same ones, whatever they hold.
    Functions, classes and Python modules count as fixed, but not what a function has captured.
    """
    if type(value) in _PLAIN:  # nearly always
        return [type(value), value]
    if type(value) is OrderedDict and not value:  # as the hooks of a module nearly always are
        return [OrderedDict]
    found: list[Any] = []
    seen: dict[int, tuple[int, Any]] = {}  # what was made on the way stays alive, so that no id comes twice
    waiting = [value]
    while waiting:
        if len(found) > MOST:
            raise UnreadableError(f"{type(value).__name__}, which leads to more than {MOST:,} values")
        item = waiting.pop()
        if type(item) in _PLAIN:
            found.append((type(item), item))
        elif type(item) in (float, complex):
            found.append(repr(item))  # nan is equal to nan, and 0.0 is not -0.0
        elif isinstance(item, _FIXED) or id(item) in known:
            found.append(Same(item))
        elif isinstance(item, Tensor):
            found += _of_tensor(item, known)
        elif id(item) in seen:
            found.append(seen[id(item)][0])
        else:
            seen[id(item)] = (len(seen), item)
            parts = _parts(item)
            found.append((Same(item) if isinstance(item, types.FunctionType) else type(item), len(parts)))
            waiting += reversed(parts)
    return found


def _of_tensor(tensor: Tensor, known: Collection[int]) -> list[Any]:
    if tensor._base is not None and id(tensor._base) in known:  # a view: what restores the one restores the other
        return [Same(tensor)]
    return [Same(tensor), _Values(tensor) if tensor.is_inference() else tensor._version]


def _parts(item: Any) -> list[Any]:
    """What an object is made of, beside its type."""
    if type(item) in (list, tuple, set, frozenset):
        return list(item)
    if type(item) is dict:
        return [part for pair in item.items() for part in pair]
    if isinstance(item, types.FunctionType):
        return _captured(item)
    if isinstance(item, (types.MethodType, types.BuiltinFunctionType)):
        return [item.__name__, item.__self__]  # of a builtin function the module, or what it is a method of
    if isinstance(item, weakref.ref):
        return [item()]
    if isinstance(item, torch.Generator):
        return item.get_state().tolist()
    attributes = getattr(item, "__dict__", None)  # first: asked for it, a partial function only now has one
    try:
        reducer = copyreg.dispatch_table.get(type(item))  # as copy.deepcopy asks
        reduced = reducer(item) if reducer else item.__reduce_ex__(4)
    except Exception as problem:  # whatever a class raises
        raise UnreadableError(type(item).__name__) from problem
    if isinstance(reduced, str):
        return [reduced]  # the name of a global, which a copy would be as well
    made_by, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    # A class may leave something out of what it says that its state is, to be pickled: so its attributes as well.
    return [made_by, arguments, state, list(items or ()), list(pairs or ()), attributes]


def _captured(function: types.FunctionType) -> list[Any]:
    """What a function keeps between its calls. Of torch's own, such as a compiled one, nothing that has an effect."""
    if str(function.__globals__.get("__name__")).partition(".")[0] == "torch":
        return []
    captured = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable that has no value yet
            captured.append(cell.cell_contents)
    return [captured, function.__defaults__, function.__kwdefaults__, vars(function)]
