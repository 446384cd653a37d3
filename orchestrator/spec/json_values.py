"""What any of our files may contain: JSON values of a reasonable size."""

import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 32  # nested mappings and lists
LARGEST = 2**63  # integers


def json_problems(value: Any, where: str = "", depth: int = 0) -> list[str]:
    """One line for every value that no setting can have: nan, bytes, lone surrogates..."""
    problem = _problem(value) if depth <= DEEPEST else f"nested more than {DEEPEST} deep"
    if problem is not None:
        return [f"{where or 'the file'}: {problem}"]
    if isinstance(value, Mapping):
        keys = [line for key in value if (line := _key_problem(key, where))]
        return keys + [
            p for k, v in value.items() for p in json_problems(v, f"{where}.{k}" if where else str(k), depth + 1)
        ]
    items = enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [p for i, v in items for p in json_problems(v, f"{where}.{i}" if where else str(i), depth + 1)]


def one_line(text: str) -> str:
    """``text`` with line breaks and other unprintable characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _key_problem(key: Any, where: str) -> str | None:
    problem = _problem(key) if isinstance(key, str) else "keys must be text"
    return f"{where or 'the file'}: the key {key!r}: {problem}" if problem else None


def _problem(value: Any) -> str | None:
    if value is None or isinstance(value, (bool, Mapping, list, tuple)):
        return None
    if isinstance(value, str):
        whole = "\0" not in value and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))
        return None if whole else f"text must not contain NUL or a lone surrogate, as {value[:40]!r} does"
    if isinstance(value, int):
        return None if abs(value) <= LARGEST else "an integer with more than 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"must be a finite number, not {value}"
    return f"must be text, a number, true, false, null, a list or a mapping, not {type(value).__name__}"
