"""Labels and class names in text files beside the images, as Tiny ImageNet has them."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.data.errors import as_data_error
from orchestrator.data.image_files import image_files
from orchestrator.errors import DataError

WORDS = "words.txt"  # a line a class: its folder's name, a tab, and what it is called


def find_annotations(folder: Path) -> Path | None:
    """The one file ``*_annotations.txt`` in the folder of a split, or None."""
    with as_data_error(folder):
        found = [path for path in folder.glob("*_annotations.txt") if not path.name.startswith(".")]
    return found[0] if len(found) == 1 else None


def annotated_files(file: Path, classes: Sequence[str], passed_over: list[Path]) -> dict[str, list[Path]]:
    """The images beside ``file`` and in folders there, by class, as its lines say: name, tab, class, and what follows.

    Raises DataError naming the line, or an image of which no line speaks.
    """
    beside = [path for path in image_files(file.parent, passed_over) if path != file]
    passed_over[:] = [path for path in passed_over if path != file]
    by_name = {path.name: path for path in beside}
    with as_data_error(file):
        lines = file.read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Path]] = {name: [] for name in classes}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        if not rest:
            raise DataError(f"{file}, line {number}: expected a file's name, a tab and its class, not {line!r}")
        if rest[0] not in found:
            raise DataError(f"{file}, line {number}: the class {rest[0]!r} has no training images")
        if (path := by_name.pop(name, None)) is None:
            raise DataError(f"{file}, line {number}: there is no image {name!r} beside it, or it is named twice")
        found[rest[0]].append(path)
    if by_name:
        raise DataError(f"{min(by_name.values())}: has no line in {file}, so it has no class")
    return {name: sorted(paths) for name, paths in found.items() if paths}


def class_words(folder: Path, classes: Sequence[str]) -> tuple[str, ...] | None:
    """What ``words.txt`` in ``folder`` calls the classes, each by its first word; None unless it has all of them.

    Where two have the same first word, the name of their folder is added.
    """
    file = folder / WORDS
    if not file.is_file():
        return None
    with as_data_error(file):
        lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    words = {parts[0]: parts[1].split(",")[0].strip() for parts in lines if len(parts) == 2}
    named = [words.get(name, "") for name in classes]
    if not all(named):
        return None
    names = [w if named.count(w) == 1 else f"{w} ({name})" for w, name in zip(named, classes, strict=True)]
    return tuple(names) if len(set(names)) == len(names) else None
