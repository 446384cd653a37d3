"""Where images come from: a dataset by name, or by the path of a folder or file."""

from dataclasses import replace
from pathlib import Path

from orchestrator.data.channels import with_channels
from orchestrator.data.cifar10 import load_cifar10
from orchestrator.data.dataset import Dataset
from orchestrator.data.dataset_files import ALLOWED, find_dataset
from orchestrator.data.digits import load_digits
from orchestrator.data.image_folder import has_class_folders, load_class_folders, load_image_folder
from orchestrator.data.labels import absent_note
from orchestrator.data.npz import load_npz
from orchestrator.data.packed import load_packed
from orchestrator.data.parquet import find_parquet, load_parquet
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec, SplitNames


def load_dataset(spec: DatasetSpec, data_dir: Path) -> Dataset:
    """The dataset that ``spec`` names, decoded and in memory.

    A path is absolute, or relative to the working directory, or else to ``data_dir``; the names ``digits`` and
    ``cifar10`` come before any folder so called (write ``./cifar10`` for that). Raises DataError naming the file if
    anything is missing, damaged or mislabelled, or if a setting is not for this kind of dataset.
    """
    dataset = with_channels(_load(spec, data_dir), spec.channels)
    counts = dataset.train.labels.bincount(minlength=len(dataset.classes)).tolist()
    if sum(map(bool, counts)) < 2:
        raise DataError(f"{spec.name}: all training images are of one class, there is nothing to tell apart")
    return replace(dataset, notes=(*dataset.notes, *absent_note(dataset.classes, counts)))


def _load(spec: DatasetSpec, data_dir: Path) -> Dataset:
    if spec.name == "digits":
        _refuse(spec, "a dataset by name", columns=True, splits=True)
        return load_digits(spec.image_size)
    if spec.name == "cifar10":
        _refuse(spec, "a dataset by name", columns=True, splits=True)
        return load_cifar10(data_dir, spec.image_size)
    path = find_dataset(spec.name, data_dir)
    if path.is_file():
        return _load_file(path, spec)
    train = spec.splits.train or "train"
    if (parquet := find_parquet(path, train)) is not None:
        return load_parquet(parquet, spec)
    if (path / train).is_dir() or spec.splits != SplitNames():
        _refuse(spec, "a folder of image files", columns=True)
        return load_image_folder(path, spec)
    if has_class_folders(path):
        _refuse(spec, "a folder of image files", columns=True)
        return load_class_folders(path, spec)
    raise DataError(f"{path}: holds neither train-*.parquet nor train/ nor class folders with images; {ALLOWED}")


def _load_file(path: Path, spec: DatasetSpec) -> Dataset:
    if path.suffix == ".npz":
        _refuse(spec, "an .npz file", columns=True)
        return load_npz(path, spec)
    if path.suffix == ".pt":
        _refuse(spec, "a packed file", columns=True, splits=True)
        return load_packed(path, spec.name, spec.image_size)
    hint = f"name the folder that holds it, {path.parent}" if path.suffix == ".parquet" else ALLOWED
    raise DataError(f"{path}: not a dataset; {hint}")


def _refuse(spec: DatasetSpec, kind: str, *, columns: bool = False, splits: bool = False) -> None:
    """Raise DataError naming settings of columns or of splits that the dataset, of this kind, does not have."""
    named = [f"dataset.{name}" for name in ("image_column", "label_column") if columns and getattr(spec, name)]
    if named:
        raise DataError(
            f"{' and '.join(named)}: {spec.name!r} is {kind}, and columns are of parquet files; leave it out"
        )
    if splits and spec.splits != SplitNames():
        raise DataError(f"dataset.splits: {spec.name!r} is {kind}, whose splits have no other names; leave it out")
