"""How the value of one argument is read: as Albumentations would, in plain Python, so that no box needs it to check."""

import math
from collections.abc import Callable, Mapping
from typing import Any

Reader = Callable[[Any], Any]  # takes the value as written; raises ValueError saying what is expected
Pair = tuple[float, float]

# OpenCV's numbers for what lies outside of an image and for interpolation; Albumentations takes only these numbers.
CONSTANT, REPLICATE, REFLECT, WRAP, REFLECT_101 = range(5)
BORDERS = {"constant": CONSTANT, "replicate": REPLICATE, "reflect": REFLECT, "wrap": WRAP, "reflect_101": REFLECT_101}
LINEAR = 1
INTERPOLATIONS = {"nearest": 0, "linear": LINEAR, "cubic": 2, "area": 3, "lanczos4": 4}


def number(value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number; text and booleans are refused, though Albumentations would read them as numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a number, not {value!r}")
    if not low <= value <= high:
        limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise ValueError(f"expected a number {limits}, not {value!r}")
    return float(value)


def whole(value: Any, low: float = -math.inf) -> int:
    """A whole number."""
    if number(value, low) != int(value):
        raise ValueError(f"expected a whole number, not {value!r}")
    return int(value)


def probability(value: Any) -> float:
    """A fraction."""
    return number(value, 0, 1)


def positive(value: Any) -> int:
    """A whole number of at least 1."""
    return whole(value, 1)


def boolean(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, not {value!r}")
    return value


def optional(read: Reader) -> Reader:
    """What ``read`` takes, or null."""
    return lambda value: None if value is None else read(value)


def one_of(*allowed: str) -> Reader:
    """One of some words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}, not {value!r}")
        return value

    return read


def code(names: Mapping[str, int]) -> Reader:
    """One of OpenCV's constants, as its number or by name."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value not in names.values():
            raise ValueError(f"expected one of {', '.join(names)}, or its number in OpenCV, not {value!r}")
        return value

    return read


def pair(value: Any) -> Pair:
    """Two numbers, in any order; returned in rising order."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"expected two numbers as [low, high], not {value!r}")
    low, high = sorted(number(item) for item in value)
    return low, high


def rising(value: Any, low: float) -> Pair:
    """Two numbers in rising order, none below ``low``."""
    first, second = pair(value)
    if value[0] > value[1]:
        raise ValueError(f"expected two numbers in rising order, not {value!r}")
    return number(first, low), number(second, low)


def counts(value: Any) -> tuple[int, int]:
    """Two whole numbers of at least 1, in rising order."""
    low, high = rising(value, 1)
    return whole(low), whole(high)


def lengths(value: Any) -> Pair:
    """Two numbers of at least 0, in rising order: pixels, or fractions below 1."""
    return rising(value, 0)


def symmetric(low: float = -math.inf, high: float = math.inf) -> Reader:
    """``a`` of at least 0 for [-a, a], or two numbers; all within the limits."""

    def read(value: Any) -> Pair:
        first, second = pair(value) if isinstance(value, (list, tuple)) else (-number(value, 0), number(value))
        return number(first, low, high), number(second, low, high)

    return read


def fixed(value: Any) -> Pair:
    """``a`` for exactly a, or two numbers to draw between."""
    return pair(value) if isinstance(value, (list, tuple)) else (number(value), number(value))


def per_axis(absent: float) -> Reader:
    """One span for both axes, or {x: span, y: span}; an axis that is left out gets ``absent``."""

    def read(value: Any) -> tuple[Pair, Pair]:
        if not isinstance(value, Mapping):
            return fixed(value), fixed(value)
        if not value or set(value) - {"x", "y"}:
            raise ValueError(f"expected a number, [low, high] or {{x: …, y: …}}, not {dict(value)!r}")
        return fixed(value.get("x", absent)), fixed(value.get("y", absent))

    return read


def fill(value: Any) -> tuple[float, float, float]:
    """A grey level or a colour, 0 to 255; ``mean`` has been replaced before."""
    if isinstance(value, (list, tuple)):
        if len(value) != 3:
            raise ValueError(f"expected mean, a number or three numbers from 0 to 255, not {value!r}")
        red, green, blue = (number(item, 0, 255) for item in value)
        return red, green, blue
    if isinstance(value, str):
        raise ValueError(f"expected mean, a number or three numbers from 0 to 255, not {value!r}")
    grey = number(value, 0, 255)
    return grey, grey, grey


def fill_or_pattern(value: Any) -> tuple[float, float, float] | str:
    """A colour, or one of CoarseDropout's patterns."""
    return value if value in ("random", "random_uniform", "inpaint_telea", "inpaint_ns") else fill(value)


def fill_mask(value: Any) -> tuple[float, ...]:
    """One number or several; it has no effect on images, only on masks."""
    return tuple(number(item) for item in value) if isinstance(value, (list, tuple)) else (number(value),)
