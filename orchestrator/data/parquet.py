"""Hugging Face's parquet layout: ``train-*.parquet`` and ``test-*.parquet`` with encoded images and labels."""

import glob
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.errors import as_data_error
from orchestrator.data.image_files import visible
from orchestrator.data.images import ImageDecoder
from orchestrator.data.labels import Label, check_kinds, class_labels, numbered
from orchestrator.data.parquet_file import ParquetFile
from orchestrator.data.split_names import choose_splits
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec

SHARD = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.parquet$")  # older ones carry a hash


def find_parquet(folder: Path, train: str = "train") -> Path | None:
    """``folder`` itself or the one folder in it that holds the parquet files of ``train``; None if there is none.

    Raises DataError if several do.
    """
    with as_data_error(folder):
        inner = [path for path in visible(folder) if path.is_dir()]
        found = [path for path in (folder, *inner) if _files(path, train)]
    if len(found) > 1 and found[0] != folder:
        raise DataError(f"{folder}: several datasets, give one of {', '.join(map(str, found))}")
    return found[0] if found else None


def load_parquet(folder: Path, spec: DatasetSpec, classes: tuple[str, ...] | None = None) -> Dataset:
    """Read the parquet files in ``folder``: ``train-*.parquet``, ``train.parquet`` or ``train/*.parquet``, and so on.

    With ``validation-*.parquet`` (or ``valid``, ``val``, ``dev``) as the validation split, or, without
    ``test-*.parquet``, as the test split, which is said.

    Class names come from the files' own metadata; else they are ``classes``; else they are the different labels of the
    training rows in order. Raises DataError naming the file, and the row counted from 0.
    """
    splits = choose_splits(
        folder,
        spec.splits,
        holds=lambda name: bool(_files(folder, name)),
        written=lambda name: f"{name}-*.parquet",
        present=lambda: _present(folder),
    )
    paths = {split: _shards(folder, split) for split in splits.names}
    files = {path: ParquetFile(path, spec) for shards in paths.values() for path in shards}
    labels = {path: file.labels() for path, file in files.items()}
    check_kinds({str(path): file.kind for path, file in files.items()})
    names = _class_names(files)
    notes: tuple[str, ...] = ()
    if names is None and classes is None:
        known, notes = class_labels(chain.from_iterable(labels[path] for path in paths[splits.train]))
        names = tuple(map(str, known))
        numbers = {path: numbered(str(path), values, known) for path, values in labels.items()}
    else:
        names = names or classes or ()
        numbers = {path: _by_name(path, values, names) for path, values in labels.items()}
    decoder = ImageDecoder(spec.image_size, spec.channels)

    def read(shards: list[Path]) -> Split:
        images = decoder.decode(chain.from_iterable(files[path].images(len(labels[path])) for path in shards))
        return Split(images, torch.tensor(list(chain.from_iterable(numbers[path] for path in shards))))

    train, test, *own = (read(paths[name]) for name in splits.names)
    said = (*decoder.notes(), *splits.notes, *(f"{folder}: {note}" for note in notes))
    return Dataset(spec.name, train, test, names, own[0] if own else None, said)


def _files(folder: Path, split: str) -> list[Path]:
    """The parquet files of a split, in order: numbered ones, the only one, or those of a folder of its name."""
    name = glob.escape(split)
    with as_data_error(folder):
        for pattern in (f"{name}-*.parquet", f"{name}.parquet", f"{name}/*.parquet"):
            if found := sorted(path for path in folder.glob(pattern) if not path.name.startswith(".")):
                return found
    return []


def _present(folder: Path) -> list[str]:
    """What splits the files in ``folder`` are called."""
    files = [path for path in visible(folder) if path.suffix == ".parquet"]
    inner = [path.name for path in visible(folder) if path.is_dir() and any(path.glob("*.parquet"))]
    return sorted({re.sub(r"-\d.*$", "", path.stem) for path in files} | set(inner))


def _shards(folder: Path, split: str) -> list[Path]:
    """The split's files in order. Raises DataError if some are missing by their own count."""
    paths = _files(folder, split)
    counted = [(int(match[1]), int(match[2])) for path in paths if (match := SHARD.search(path.name))]
    if counted and (len(counted) != len(paths) or counted != [(i, len(paths)) for i in range(len(paths))]):
        present = ", ".join(path.name for path in paths)
        raise DataError(f"{folder}: the {split} files are not all there, or not of one set: {present}")
    return paths


def _class_names(files: Mapping[Path, ParquetFile]) -> tuple[str, ...] | None:
    """The names in the metadata of those files that have any, which are the same; None if none has."""
    names = {path: named for path, file in files.items() if (named := file.class_names()) is not None}
    first = next(iter(names), None)
    for path, named in names.items():
        if first is not None and named != names[first]:
            raise DataError(f"{path}: its class names are not those of {first}")
    return None if first is None else names[first]


def _by_name(path: Path, labels: list[Label], names: tuple[str, ...]) -> list[int]:
    """Labels that are names, or numbers of names, as numbers."""
    if labels and isinstance(labels[0], str):
        return numbered(str(path), labels, names)
    for row, label in enumerate(map(int, labels)):
        if label >= len(names):
            raise DataError(f"{path}, row {row}: the label {label} is too big, there are {len(names)} classes (from 0)")
    return [int(label) for label in labels]
