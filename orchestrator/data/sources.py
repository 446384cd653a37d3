"""Where images come from: a dataset by name, or by the path of a folder or file."""

from pathlib import Path

from orchestrator.data.cifar10 import load_cifar10
from orchestrator.data.dataset import Dataset
from orchestrator.data.dataset_files import ALLOWED, find_dataset
from orchestrator.data.digits import load_digits
from orchestrator.data.image_folder import load_image_folder
from orchestrator.data.packed import load_packed
from orchestrator.data.parquet import find_parquet, load_parquet
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec


def load_dataset(spec: DatasetSpec, data_dir: Path) -> Dataset:
    """The dataset that ``spec`` names, decoded and in memory.

    A path is absolute, or relative to the working directory, or else to ``data_dir``; the names ``digits`` and
    ``cifar10`` come before any folder so called (write ``./cifar10`` for that). Raises DataError naming the file if
    anything is missing, damaged or mislabelled.
    """
    if spec.name == "digits":
        return load_digits(spec.image_size)
    if spec.name == "cifar10":
        return load_cifar10(data_dir, spec.image_size)
    path = find_dataset(spec.name, data_dir)
    if path.is_file():
        if path.suffix != ".pt":
            raise DataError(f"{path}: not a dataset; {ALLOWED}")
        return load_packed(path, spec.name, spec.image_size)
    if (parquet := find_parquet(path)) is not None:
        return load_parquet(parquet, spec.name, spec.image_size)
    if (path / "train").is_dir():
        return load_image_folder(path, spec.name, spec.image_size)
    raise DataError(f"{path}: holds neither train-*.parquet nor train/; {ALLOWED}")
