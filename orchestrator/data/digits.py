"""The digits dataset: 1,797 handwritten digits that scikit-learn ships, so that something runs everywhere."""

import gzip
import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.errors import as_data_error
from orchestrator.data.images import resize
from orchestrator.data.validation_split import train_validation_indices
from orchestrator.errors import DataError

FILE = ("datasets", "data", "digits.csv.gz")  # below scikit-learn's own folder
IMAGE_SIZE = 32  # pixels: the 8 × 8 originals are too small for networks made for CIFAR-10
TEST_IMAGES = 360  # 20 %
TEST_SEED = 0  # the split is part of the dataset: it never depends on a trial's seed


def load_digits(image_size: int | None = None) -> Dataset:
    """1,437 training and 360 test images, stratified; ``image_size`` (pixels) null means 32.

    The values 0 to 16 are scaled to 0 to 255 before resizing. Raises DataError if scikit-learn is missing.
    """
    values = _table()
    grey = values[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)
    images = resize(grey, image_size or IMAGE_SIZE).repeat(1, 3, 1, 1)
    labels = values[:, -1].long()
    train, test = train_validation_indices(labels, TEST_IMAGES / len(labels), TEST_SEED)
    whole = Split(images, labels)
    return Dataset("digits", whole.subset(train), whole.subset(test), tuple("0123456789"))


def _table() -> Tensor:
    """(1797, 65) float64: 64 values of each image, row by row, and its label.

    Scikit-learn's own file, read without importing scikit-learn, which brings all of its estimators.
    """
    found = importlib.util.find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or []
    file = next((path for folder in folders if (path := Path(folder, *FILE)).is_file()), None)
    if file is None:
        raise DataError("the digits dataset needs scikit-learn, which is not installed (pip install scikit-learn)")
    with as_data_error(file), gzip.open(file, "rt", encoding="ascii") as text:
        return torch.tensor([[float(v) for v in line.split(",")] for line in text], dtype=torch.float64)
