"""Settings of the whole process that hold inside a block only: environment, attributes of libraries, log levels."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside this block the environment has ``variables``."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def attributes(target: Any, **values: Any) -> Iterator[None]:
    """Inside this block ``target``, a module or a class, has the attributes ``values``.

    Raises AttributeError if it has no such attribute: a name of another library may be gone in its next release.
    """
    before = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)


@contextmanager
def log_level(level: int, *loggers: str) -> Iterator[None]:
    """Inside this block the named ``loggers`` show nothing below ``level``."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in before:
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, previous in before.items():
            logging.getLogger(name).setLevel(previous)
