"""The settings of a search space: what can be drawn, in which order, and what such draws are called in trials."""

import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from orchestrator.experiment.distributions import LISTED, draw, values
from orchestrator.experiment.paths import in_name
from orchestrator.spec import Distribution
from orchestrator.spec.references import REFERENCE, map_references
from orchestrator.text import short_names

LONGEST_VALUE, LONGEST_LABEL = 24, 100  # characters, in a trial's name
DIGITS = 4  # significant digits of a float in a trial's name, if they keep names distinct

Space = Mapping[str, Distribution]  # by dotted path


def sample_settings(space: Space, seed: int | str) -> Iterator[dict[str, Any]]:
    """Yield settings by path, determined by ``space`` and ``seed``; a small finite space ends, without repeats.

    The first settings are the same however many are taken.
    """
    stream = random.Random(seed)
    paths = sorted(space)
    if (every := _every(space, paths)) is not None:
        yield from (dict(zip(paths, chosen, strict=True)) for chosen in _shuffled(every, stream))
        return
    while True:
        yield {path: draw(space[path], stream) for path in paths}


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination of finite distributions, in order: the last path of the file varies fastest."""
    every = [[value for value, _ in values(distribution) or ()] for distribution in space.values()]
    return (dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*every))


def _every(space: Space, paths: Sequence[str]) -> list[tuple[tuple[Any, float], ...]] | None:
    """Every combination of values with their weights, by the order of ``paths``; None if there are too many."""
    known = [values(space[path]) for path in paths]
    if any(v is None for v in known) or math.prod(len(v or ()) for v in known) > LISTED:
        return None
    return list(itertools.product(*(v or () for v in known)))


def _shuffled(every: list[tuple[tuple[Any, float], ...]], stream: random.Random) -> Iterator[tuple[Any, ...]]:
    """The combinations in the order of draws without replacement, the likely ones earlier.

    With weights by the keys of Efraimidis and Spirakis (2006): the largest log(u) / weight is drawn first.
    """
    if all(weight == 1.0 for combination in every for _, weight in combination):
        stream.shuffle(every)
    else:
        keys = [math.log(1 - stream.random()) / math.prod(w for _, w in combination) for combination in every]
        every = [every[i] for i in sorted(range(len(every)), key=keys.__getitem__, reverse=True)]
    return (tuple(value for value, _ in combination) for combination in every)


class Labels:
    """Unique names of samples, such as ``lr=0.1,width=2``; a sample's name depends on earlier ones only."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._names = short_names(sorted(paths))
        self._taken: set[str] = set()

    def next(self, position: int, sample: Mapping[str, Any]) -> str:
        """The label of ``sample``, the one with index ``position``."""
        label = _label(sample, self._names, DIGITS)
        if label in self._taken:
            label = _label(sample, self._names, 17)
        if label in self._taken or len(label) > LONGEST_LABEL:
            label = f"{label[:LONGEST_LABEL]},sample-{position}"
        self._taken.add(label)
        return label


def labels(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The unique label of each of ``samples``, which have the same paths."""
    names = Labels(sorted(samples[0]) if samples else ())
    return [names.next(position, sample) for position, sample in enumerate(samples)]


def _label(sample: Mapping[str, Any], names: Mapping[str, str], digits: int) -> str:
    return ",".join(f"{names[path]}={_text(value, digits)}" for path, value in sorted(sample.items()))


def _text(value: Any, digits: int) -> str:
    """A value as part of a folder's name; a class or function in it has the same wherever its file lies."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    bare = map_references(value, lambda name: {REFERENCE: in_name(name, lambda file: PurePath(file).name)})
    text = bare if isinstance(bare, str) else json.dumps(bare)
    return re.sub(r"[^\w.+-]+", "_", text)[:LONGEST_VALUE]
