"""Classes and functions as arguments of a network, named in a file: ``{class: path/to/file.py:Block}``."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

REFERENCE = "class"  # the only key of a mapping that stands for a class or function


def is_reference(value: Any) -> bool:
    """Whether ``value`` stands for a class or function."""
    return isinstance(value, Mapping) and list(value) == [REFERENCE] and isinstance(value[REFERENCE], str)


def map_references(value: Any, replace: Callable[[str], Any]) -> Any:
    """``value``, nested mappings and lists, with each reference replaced by ``replace`` of the name it holds."""
    if is_reference(value):
        return replace(value[REFERENCE])
    if isinstance(value, Mapping):
        return {key: map_references(part, replace) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_references(part, replace) for part in value]
    return value


def classes_in(arguments: Mapping[str, Any]) -> str:
    """The names in ``arguments``, whatever folders their files are in and however the keys are ordered."""
    names = references(json.loads(json.dumps(arguments, sort_keys=True)))
    return ", ".join(PurePath(name).name for name in names)


def references(value: Any) -> Iterator[str]:
    """The names that the references in ``value`` hold, in order."""
    if is_reference(value):
        yield value[REFERENCE]
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from references(part)
