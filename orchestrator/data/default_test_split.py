"""The test split of a dataset that has none: part of each class, chosen by the names of the files alone."""

import hashlib
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import DataError

Files = dict[str, list[Path]]


def split_by_names(files: Mapping[str, list[Path]], fraction: float, folder: Path) -> tuple[Files, Files]:
    """The files of each class, within ``folder``, for training and for the test split, both in the order given.

    Of n files ``round(fraction * n)`` are the test split, but at least one, and at least one is left: those whose
    names have the lowest hashes (sha256). The same files give the same split on every machine and for every seed; a
    file added later moves few others. Raises DataError naming a class with fewer than two.
    """
    train: Files = {}
    test: Files = {}
    for label, paths in files.items():
        if len(paths) < 2:
            raise DataError(
                f"{folder / label}: holds 1 image; to make a test split, each class needs 2 or more: one to learn from "
                "and one to test by"
            )
        count = min(max(round(fraction * len(paths)), 1), len(paths) - 1)
        chosen = set(sorted(paths, key=lambda path: _hash(path.relative_to(folder)))[:count])
        train[label] = [path for path in paths if path not in chosen]
        test[label] = [path for path in paths if path in chosen]
    return train, test


def _hash(path: Path) -> bytes:
    """Of a relative path, however a machine writes its separators and its accents."""
    return hashlib.sha256(unicodedata.normalize("NFC", path.as_posix()).encode("utf-8", "surrogateescape")).digest()
