"""Pictures in folders named by class, as torchvision's ImageFolder has them: ``train/<class>/``, ``test/<class>/``."""

from collections.abc import Iterator
from pathlib import Path

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.pictures import Stacker
from orchestrator.data.reading import refusing
from orchestrator.errors import DataError


def load_image_folder(folder: Path, name: str, image_size: int | None = None) -> Dataset:
    """Read ``train/`` and ``test/`` (or, without ``test/``, ``val/``); classes are in the order of their names.

    Hidden files are passed over; links are followed. Raises DataError naming the file or folder.
    """
    test_folder = next((folder / split for split in ("test", "val") if (folder / split).is_dir()), None)
    if test_folder is None:
        raise DataError(f"{folder}: has train/ but neither test/ nor val/")
    train, test = _list(folder / "train"), _list(test_folder)
    if list(train) != list(test):
        different = sorted(set(train) ^ set(test))
        raise DataError(f"{folder}: train/ and {test_folder.name}/ have different classes: {', '.join(different)}")
    stacker = Stacker(image_size)
    return Dataset(name, _read(train, stacker), _read(test, stacker), tuple(train))


def _list(folder: Path) -> dict[str, list[Path]]:
    """The files of each class, both in order of their names."""
    files: dict[str, list[Path]] = {}
    for entry in _visible(folder):
        if not entry.is_dir():
            raise DataError(f"{entry}: not a folder; {folder} may hold nothing but one folder for each class")
        files[entry.name] = _visible(entry)
        if not files[entry.name]:
            raise DataError(f"{entry}: holds no pictures")
    if not files:
        raise DataError(f"{folder}: holds no class folders")
    return files


def _visible(folder: Path) -> list[Path]:
    with refusing(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read(files: dict[str, list[Path]], stacker: Stacker) -> Split:
    labels = [label for label, paths in enumerate(files.values()) for _ in paths]
    return Split(stacker.stack(_contents(files)), torch.tensor(labels))


def _contents(files: dict[str, list[Path]]) -> Iterator[tuple[str, bytes]]:
    for paths in files.values():
        for path in paths:
            if not path.is_file():  # a folder, a broken link, a pipe that would never end
                raise DataError(f"{path}: not a picture file")
            with refusing(path):
                content = path.read_bytes()
            yield str(path), content
