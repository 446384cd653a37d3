"""Images in folders named by class, as torchvision's ImageFolder has them: ``train/<class>/``, ``test/<class>/``."""

from collections.abc import Iterator
from pathlib import Path

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.errors import as_data_error
from orchestrator.data.images import ImageDecoder
from orchestrator.errors import DataError

VALIDATION = ("val", "valid", "validation", "dev")  # what a validation split is called


def load_image_folder(folder: Path, name: str, image_size: int | None = None) -> Dataset:
    """Read ``train/``, ``test/`` and, where there is one, ``val/``, ``valid/``, ``validation/`` or ``dev/``.

    Without ``test/`` the validation split is the test split, which is said: choices are then made on images held out of
    ``train/``. Classes are in the order of their names. Hidden files are passed over; links are followed. Raises
    DataError naming the file or folder.
    """
    own = [split for split in VALIDATION if (folder / split).is_dir()]
    has_test = (folder / "test").is_dir()
    if not own and not has_test:
        raise DataError(f"{folder}: has train/ but neither test/ nor val/")
    if len(own) > 1:
        raise DataError(f"{folder}: several validation splits, {', '.join(own)}; leave one")
    names = ["train", *(["test"] if has_test else []), *own]
    files = {split: _list(folder / split) for split in names}
    for split in names[1:]:
        if list(files["train"]) != list(files[split]):
            different = sorted(set(files["train"]) ^ set(files[split]))
            raise DataError(f"{folder}: train/ and {split}/ have different classes: {', '.join(different)}")
    decoder = ImageDecoder(image_size)
    splits = {split: _read(files[split], decoder) for split in names}
    passed_over = [f"{p.name}/" for p in _visible(folder) if p.is_dir() and p.name not in names]
    notes = [
        *decoder.notes(),
        *([] if has_test else [f"{folder}: without test/, {own[0]}/ is the test split"]),
        *([f"{folder}: {own[0]}/ is the validation split"] if has_test and own else []),
        *([f"{folder}: passed over: {', '.join(passed_over)}"] if passed_over else []),
    ]
    test = splits["test"] if has_test else splits[own[0]]
    validation = splits[own[0]] if has_test and own else None
    return Dataset(name, splits["train"], test, tuple(files["train"]), validation, tuple(notes))


def _list(folder: Path) -> dict[str, list[Path]]:
    """The files of each class, both in order of their names."""
    files: dict[str, list[Path]] = {}
    for entry in _visible(folder):
        if not entry.is_dir():
            raise DataError(f"{entry}: not a folder; {folder} may hold nothing but one folder for each class")
        files[entry.name] = _visible(entry)
        if not files[entry.name]:
            raise DataError(f"{entry}: holds no images")
    if not files:
        raise DataError(f"{folder}: holds no class folders")
    return files


def _visible(folder: Path) -> list[Path]:
    with as_data_error(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read(files: dict[str, list[Path]], decoder: ImageDecoder) -> Split:
    labels = [label for label, paths in enumerate(files.values()) for _ in paths]
    return Split(decoder.decode(_contents(files)), torch.tensor(labels))


def _contents(files: dict[str, list[Path]]) -> Iterator[tuple[str, bytes]]:
    for paths in files.values():
        for path in paths:
            if not path.is_file():  # a folder, a broken link, a pipe that would never end
                raise DataError(f"{path}: not an image file")
            with as_data_error(path):
                content = path.read_bytes()
            yield str(path), content
