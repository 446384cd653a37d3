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
def no_garbage_collection() -> Iterator[None]:
    """Import large packages in here: they make many objects and no garbage, which takes a third of the time to see."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was imported stays, and need not be looked at again
        if enabled:
            gc.enable()
