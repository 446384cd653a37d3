"""The log of suggestions, by which they outlive a process: what has been given out stands, whatever changes later."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.files import append_line, storage_named


@dataclass(frozen=True)
class Suggestion:
    """One suggestion, number ``n`` of a variant, or of all variants together."""

    variant: str | None
    n: int
    settings: Mapping[str, Any]  # by dotted path
    rejected: tuple[Mapping[str, Any], ...] = ()  # what was suggested before it and broke the contract


def read_log(log: Path) -> list[Suggestion]:
    """Every suggestion in ``log``, in order; of several with the same number the first, which was given out.

    A last line that was cut off is ignored, and ended: what is written next is on a line of its own. Raises
    StorageError if it cannot be read.
    """
    found: dict[tuple[str | None, int], Suggestion] = {}
    with storage_named(log):
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    for line in text.split("\n"):
        try:
            read = json.loads(line)
            suggestion = Suggestion(read["variant"], int(read["n"]), dict(read["settings"]), tuple(read["rejected"]))
        except (ValueError, TypeError, KeyError):
            continue  # the driver was killed while it wrote this line, and its suggestion was never given out
        found.setdefault((suggestion.variant, suggestion.n), suggestion)
    if text and not text.endswith("\n"):
        with storage_named(log):
            append_line(log, "")
    return list(found.values())


def append(log: Path, suggestion: Suggestion) -> None:
    """Write ``suggestion`` at the end of ``log``; it is on disk when this returns.

    Raises StorageError or DiskFullError if it cannot be written.
    """
    with storage_named(log):
        append_line(log, json.dumps(asdict(suggestion)))
