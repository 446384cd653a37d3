"""The settings that a search draws, in an order independent of the number of samples, and their names in trials."""

import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.records import short_names
from orchestrator.spec import Distribution, Search

LISTED = 10_000  # a finite space of at most this many settings is shuffled; a larger one is sampled
LONGEST_VALUE, LONGEST_LABEL = 24, 100  # characters, in a trial's name
DIGITS = 4  # significant digits of a float in a trial's name, if they keep names distinct


def sample_settings(search: Search) -> Iterator[dict[str, Any]]:
    """Yield settings by path, determined by the space and ``search.seed``; a small finite space ends.

    The first settings are the same however many are taken.
    """
    stream = random.Random(search.seed)
    space = sorted(search.space.items())
    values = [_values(distribution) for _, distribution in space]
    if all(v is not None for v in values) and math.prod(len(v or ()) for v in values) <= LISTED:
        every = list(itertools.product(*(v or () for v in values)))
        stream.shuffle(every)
        yield from (dict(zip((path for path, _ in space), chosen, strict=True)) for chosen in every)
        return
    while True:
        yield {path: _value(distribution, stream) for path, distribution in space}


def extremes(distribution: Distribution) -> list[Any]:
    """The values of ``distribution`` that are worth checking: every choice, or both ends."""
    if distribution.choice is not None:
        return list(distribution.choice)
    if distribution.randint is not None:
        return [distribution.randint[0], distribution.randint[1] - 1]
    return list(distribution.uniform or distribution.loguniform or ())


def labels(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The unique label of each sample in the names of its trials, such as ``lr=0.1,width=2``."""
    names = short_names(sorted(samples[0])) if samples else {}
    brief = [_label(sample, names, DIGITS) for sample in samples]
    count = Counter(brief)
    exact = [
        label if count[label] == 1 else _label(sample, names, 17) for sample, label in zip(samples, brief, strict=True)
    ]
    count = Counter(exact)
    return [
        label if count[label] == 1 and len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]},sample-{position}"
        for position, label in enumerate(exact)
    ]


def _label(sample: Mapping[str, Any], names: Mapping[str, str], digits: int) -> str:
    return ",".join(f"{names[path]}={_text(value, digits)}" for path, value in sorted(sample.items()))


def _text(value: Any, digits: int) -> str:
    """A value as part of a folder's name."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^\w.+-]+", "_", text)[:LONGEST_VALUE]


def _values(distribution: Distribution) -> list[Any] | None:
    """Every value of a finite distribution, or None if there are too many."""
    if distribution.choice is not None:
        return list(distribution.choice)
    if distribution.randint is not None and distribution.randint[1] - distribution.randint[0] <= LISTED:
        return list(range(*distribution.randint))
    return None


def _value(distribution: Distribution, stream: random.Random) -> Any:
    if distribution.uniform is not None:
        return stream.uniform(*distribution.uniform)
    if distribution.loguniform is not None:
        low, high = distribution.loguniform
        return math.exp(stream.uniform(math.log(low), math.log(high)))
    if distribution.randint is not None:
        return stream.randrange(*distribution.randint)
    return stream.choice(distribution.choice or ())
