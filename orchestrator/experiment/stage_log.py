"""The log of what was decided between stages and rounds: what trials have begun with stands, whatever changes later."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.files import append_line, storage_named

CHOSEN, ROUND, VARIANTS = "confirmed", "round", "variants"


def _nothing(_: Path) -> None:
    """A named function, unlike a lambda, can be pickled."""


@dataclass
class StageLog:
    """The samples that are confirmed, by variant, and the variants of each round, by seed.

    Both are kept in a file, which other decisions may share, as soon as :meth:`open` has named it: a decision is taken
    when it is on disk. Raises StorageError or DiskFullError if the file cannot be read or written.
    """

    choices: dict[str, int] = field(default_factory=dict)
    rounds: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _path: Path | None = None
    _written: Callable[[Path], object] = _nothing

    def open(self, path: Path, written: Callable[[Path], object]) -> None:
        """Read what ``path`` holds, of several decisions on one thing the first, and write there from now on.

        A line that was cut off when its process was killed is ignored: nothing had begun with it.
        """
        self.choices, self.rounds = {}, {}
        self._path, self._written = path, written
        with storage_named(path):
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.split("\n"):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        if text and not text.endswith("\n"):
            with storage_named(path):
                append_line(path, "")

    def choose(self, choices: Mapping[str, int]) -> bool:
        """Keep those of ``choices`` that are new; whether there are any."""
        new = {label: sample for label, sample in choices.items() if label not in self.choices}
        if new:
            self._append({CHOSEN: new})
            self.choices.update(new)
        return bool(new)

    def begin(self, seed: int, variants: Sequence[str]) -> None:
        """Keep that the round of ``seed`` has begun with ``variants``, if that is new."""
        before = self.rounds.get(seed, ())
        if not set(variants) <= set(before):
            self._append({ROUND: seed, VARIANTS: list(variants)})
            self.rounds[seed] = tuple(variants)

    def _take(self, line: Mapping[str, object]) -> None:
        if isinstance(chosen := line.get(CHOSEN), dict):
            for label, sample in chosen.items():
                self.choices.setdefault(str(label), int(sample))
        if isinstance(seed := line.get(ROUND), int) and isinstance(variants := line[VARIANTS], list):
            self.rounds[seed] = tuple(dict.fromkeys([*self.rounds.get(seed, ()), *map(str, variants)]))

    def _append(self, line: Mapping[str, object]) -> None:
        if self._path is not None:
            with storage_named(self._path):
                append_line(self._path, json.dumps(line))
            self._written(self._path)
