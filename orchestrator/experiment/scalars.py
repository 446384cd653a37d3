"""What a value without quotes is in experiment files and in ``--set``: what people mean by it, or refused.

YAML 1.1 reads 010 as 8, 1:30 as 90, and no, on and 2026-01-01 as something other than text; YAML 1.2 and people do not.
"""

import contextlib
import math
import re

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0o[0-7][0-7_]*|0b[01][01_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]*[0-9]")
_NOT_FINITE = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
NUMBER_STARTS = "-+.0123456789"

FREE = ("arguments", "augmentation", "choice", "points")  # keys in a file whose values may be of any kind
# Truth values of YAML 1.1 that are text to YAML 1.2.
WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NULLS = ("~", "null", "Null", "NULL", "")
PYTHON_NULL = "None"  # text to YAML


class AmbiguousNumberError(ValueError):
    """What could be two numbers, or none that can be computed with; ``meant`` is the likely one."""

    def __init__(self, problem: str, meant: int | float) -> None:
        super().__init__(problem)
        self.meant = meant


def number(text: str) -> int | float | None:
    """The number that ``text`` is; None if it is none. Raises AmbiguousNumberError if that cannot be said."""
    if _LEADING_ZERO.fullmatch(text):
        sign = text[0] if text[0] in "-+" else ""
        plain = text.lstrip("-+").replace("_", "").lstrip("0") or "0"
        problem = f'{text} is octal in YAML; write {sign}{plain}, or "{text}" in quotes for text'
        raise AmbiguousNumberError(problem, int(sign + plain[:18]))  # int() reads no thousands of digits
    if _INTEGER.fullmatch(text):
        with contextlib.suppress(ValueError):  # thousands of digits
            return int(text.replace("_", ""), 0)
    if _FLOAT.fullmatch(text):
        value = float(text.replace("_", ""))
        if math.isinf(value):
            problem = f"{text[:40]} is larger than any number that can be computed with"
            raise AmbiguousNumberError(problem, math.copysign(1, value))
        return value
    return _NOT_FINITE.get(text.lower())


def word_problem(text: str) -> str | None:
    """Why the word ``text``, without quotes, cannot stand where text, true or false, and null are allowed; or None."""
    if text == PYTHON_NULL:
        return f'{text} is text in YAML; write null, or "{text}" in quotes for text'
    meant = WORDS.get(text.lower())
    return None if meant is None else f'{text} is text or {meant}, by the version of YAML; write {meant}, or "{text}"'


def plain_value(text: str, *, free: bool) -> int | float | bool | str | None:
    """What ``text`` is as a value without quotes; ``free``: where values may be of any kind. Raises ValueError."""
    if free and (problem := word_problem(text)) is not None:
        raise ValueError(problem)
    if text in NULLS:
        return None
    if text in TRUTH:
        return TRUTH[text]
    return text if (value := number(text)) is None else value
