"""Text for messages: the first or last line of a problem, the nearest spelling of a word, lists, durations."""

import difflib
from collections.abc import Iterable, Mapping, Sequence


def first_line(problem: object, default: str | None = None) -> str:
    """The first line of an exception or a text; ``default``, or the name of its type, if it is empty."""
    return _lines(problem, default)[0]


def last_line(problem: object, default: str | None = None) -> str:
    """The last line of an exception or a text, where programs and Ray say what went wrong."""
    return _lines(problem, default)[-1]


def in_one_line(problem: BaseException) -> str:
    """``ValueError: the first line of its message``, or the name of its type alone."""
    kind = type(problem).__name__
    return f"{kind}: {first_line(problem)}" if str(problem).strip() else kind


def _lines(problem: object, default: str | None) -> list[str]:
    return str(problem).strip().splitlines() or [type(problem).__name__ if default is None else default]


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`` (did you mean X?)`` if one of ``allowed`` is spelled similarly, in whatever case; otherwise nothing."""
    by_lower_case = {candidate.lower(): candidate for candidate in allowed}
    near = difflib.get_close_matches(word.lower(), by_lower_case, n=1)
    return f" (did you mean {by_lower_case[near[0]]}?)" if near else ""


def listed(names: Sequence[str], most: int = 4) -> str:
    """``a, b and c``: the first ``most`` of ``names``, which are not empty, and the number of the others."""
    parts = [*names[:most], f"{len(names) - most} more"] if len(names) > most else list(names)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def shown(value: object) -> str:
    """A value as an experiment file has it, text in quotes; the beginning of a long one."""
    try:
        text = _written(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or very deep nesting
        return "what was given"
    return text if len(text) < 60 else text[:57] + "..."


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_written(inside)}' for key, inside in value.items())}}}"
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, (list, tuple)) else repr(value)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """For each dotted path its shortest unique ending: ``lr`` for ``trainer.optimizer.lr``."""
    names = {}
    for path in paths:
        parts = path.split(".")
        endings = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in paths if other != path]
        names[path] = next((e for e in endings if not any(f".{o}".endswith(f".{e}") for o in others)), path)
    return names


def setting(value: object) -> str:
    """A searched setting for display: floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings_in_words(drawn: Mapping[str, object]) -> str:
    """Searched settings, by path, for display: ``lr 0.1, width 32``."""
    return ", ".join(f"{name} {setting(drawn[path])}" for path, name in short_names(sorted(drawn)).items())


def either(words: Sequence[str]) -> str:
    """``a, b or c``; ``words`` are not empty."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def counted(number: float, word: str, plural: str = "") -> str:
    """``1 trial``, ``1,200 trials`` or ``0 trials``; ``plural`` is the word for several if it takes more than an s."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {plural or f'{word}s'}"


_LARGE = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))


def large(number: float) -> str:
    """A large number with three digits and a unit: ``46.7 million``, ``48.7 thousand``; below a thousand, all of it."""
    for size, unit in _LARGE:
        if number >= 0.9995 * size:  # 999,950 is 1 million
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """``4.2 s``, ``36 s``, ``12 min`` or ``3.4 h``, with the digits that matter."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(seconds)} s"


def _two_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"
