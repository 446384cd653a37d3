"""Imports that cost less: names of a package imported when they are first used, and large packages in one go."""

import gc
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``package`` (PEP 562); ``homes`` says which of its modules defines each name."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        importlib.import_module(package).__dict__[name] = value
        return value

    return get


@contextmanager
def no_garbage_collection(freeze: bool = False) -> Iterator[None]:
    """Import large packages in here: they make many objects and no garbage, which takes a third of the time to see.

    Also for a moment in which the collector may drop no object, in whatever thread it would run. With ``freeze``, all
    that this process holds by then is never looked at again: for workers, not for a user's process, whose garbage
    would stay.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if enabled:
            gc.enable()
