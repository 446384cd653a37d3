"""What can be drawn from a distribution, with Ray Tune's bounds and steps: values, draws, extremes, membership."""

import json
import math
import random
from decimal import Decimal
from statistics import NormalDist
from typing import Any

from orchestrator.spec import Distribution, variant_label
from orchestrator.spec.references import REFERENCE, map_references, references
from orchestrator.text import shown

LISTED = 10_000  # a finite space of at most this many settings is shuffled; a larger one is sampled
TAIL = 1e-9  # probability beyond which a normal distribution is cut off at either end: six standard deviations


def draw(distribution: Distribution, stream: random.Random) -> Any:
    """One value, by the next number or numbers of ``stream``."""
    if distribution.choice is not None:
        return stream.choice(distribution.choice)
    if distribution.randint is not None:
        return stream.randrange(*distribution.randint)
    if distribution.qrandint is not None:
        return stream.choice(multiples(distribution)) * distribution.qrandint[2]
    if distribution.normal is not None:
        return quantile(distribution, stream.uniform(TAIL, 1 - TAIL))
    low, high, *_ = distribution.numbers
    if distribution.uniform is not None or distribution.quniform is not None:
        return rounded(distribution, stream.uniform(low, high))
    drawn = math.exp(stream.uniform(math.log(low), math.log(high)))
    if distribution.lograndint is not None:
        return min(max(int(drawn), int(low)), int(high) - 1)
    return rounded(distribution, drawn)


def values(distribution: Distribution) -> list[tuple[Any, float]] | None:
    """Every value of a finite distribution with its weight, 1.0 if all are alike; None if they are too many."""
    if distribution.choice is not None:
        return [(value, 1.0) for value in distribution.choice]
    if distribution.uniform or distribution.loguniform or distribution.normal:
        return None
    if distribution.randint is not None:
        whole = range(*distribution.randint)
        return [(value, 1.0) for value in whole] if len(whole) <= LISTED else None
    if distribution.lograndint is not None:
        low, high = distribution.lograndint
        return [(k, math.log1p(1 / k)) for k in range(low, high)] if high - low <= LISTED else None
    steps = multiples(distribution)
    if len(steps) > LISTED:
        return None
    if distribution.qrandint is not None:
        return [(step * distribution.qrandint[2], 1.0) for step in steps]
    return [(multiple(distribution, step), _weight(distribution, step)) for step in steps]


def extremes(distribution: Distribution) -> list[Any]:
    """The values of ``distribution`` that are worth checking: every choice, or both ends."""
    if distribution.choice is not None:
        return list(distribution.choice)
    if distribution.normal is not None:
        return [quantile(distribution, TAIL), quantile(distribution, 1 - TAIL)]
    low, high, *step = distribution.numbers
    if distribution.randint is not None or distribution.lograndint is not None:
        return [low, high - 1]
    if not step:
        return [low, high]
    steps = multiples(distribution)
    return [multiple(distribution, steps[0]), multiple(distribution, steps[-1])]


def admitted(distribution: Distribution, value: Any) -> Any:
    """``value`` as a draw would give it. Raises ValueError if it cannot be drawn."""
    if distribution.choice is not None:
        return distribution.choice[position(distribution, value)]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not isinstance(value, float):
        raise ValueError(f"{shown(value)} is not a number")
    low, high = extremes(distribution)
    if isinstance(low, int) and not whole:
        raise ValueError(f"{shown(value)} is not an integer")
    if not low <= value <= high:
        raise ValueError(f"{shown(value)} is not between {low} and {high}")
    drawn = value if isinstance(low, int) else float(value)
    if (q := step(distribution)) is not None:
        nearest = multiple(distribution, round(value / q))
        if not math.isclose(nearest, value, abs_tol=1e-12):
            raise ValueError(f"{shown(value)} is no multiple of {q}")
        return nearest
    return drawn


def recalled(distribution: Distribution, value: Any) -> Any:
    """``value`` as this process draws what an earlier one drew: in another folder, classes have other paths.

    Raises ValueError if it cannot be drawn.
    """
    alike = [one for one in distribution.choice or () if any(references(one)) and _by_name(one) == _by_name(value)]
    if len(alike) == 1:
        return alike[0]
    if admitted(distribution, value) != value:
        raise ValueError(f"{shown(value)} is not what is drawn")
    return value


def position(distribution: Distribution, value: Any) -> int:
    """The index of ``value`` among the choices; true is not 1. Raises ValueError if it is none of them."""
    choices = distribution.choice or ()
    same = [i for i, one in enumerate(choices) if _exact(one) == _exact(value)]
    equal = [i for i, one in enumerate(choices) if one == value and isinstance(one, bool) == isinstance(value, bool)]
    if same or equal:
        return (same or equal)[0]
    raise ValueError(f"{shown(value)} is none of {', '.join(map(shown, choices))}")


def step(distribution: Distribution) -> float | None:
    """The q of a distribution that has one."""
    return distribution.numbers[2] if distribution.kind in ("quniform", "qloguniform", "qrandint") else None


def multiples(distribution: Distribution) -> range:
    """The factors k for which k * q can be drawn."""
    low, high, q = distribution.numbers
    if distribution.qrandint is not None:
        return range(int(-(-low // q)), int(high // q) + 1)
    return range(round(low / q), round(high / q) + 1)


def multiple(distribution: Distribution, factor: int) -> Any:
    """``factor`` times q, without the noise of binary fractions: 3 times 0.1 is 0.3."""
    q = distribution.numbers[2]
    return factor * q if isinstance(q, int) else float(Decimal(repr(q)) * factor)


def rounded(distribution: Distribution, value: float) -> float:
    """``value`` at the nearest multiple of q, if the distribution has one."""
    q = step(distribution)
    return value if q is None else float(multiple(distribution, round(value / q)))


def quantile(distribution: Distribution, probability: float) -> float:
    """The value of a normal distribution below which lies ``probability``."""
    mean, sd = distribution.numbers
    return NormalDist(mean, sd).inv_cdf(probability)


def _weight(distribution: Distribution, factor: int) -> float:
    """How likely rounding gives this multiple, up to a constant."""
    low, high, q = distribution.numbers
    below, above = max(low, (factor - 0.5) * q), min(high, (factor + 0.5) * q)
    return math.log(above / below) if distribution.qloguniform is not None else (above - below) / q


def _by_name(value: Any) -> str:
    return _exact(map_references(value, lambda name: {REFERENCE: variant_label(name)}))


def _exact(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
