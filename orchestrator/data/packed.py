"""A dataset as one ``.pt`` file: written once, readable on a machine that has only torch."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.errors import as_data_error
from orchestrator.data.images import resize
from orchestrator.errors import DataError
from orchestrator.files import write_atomically

RESIZED_AT_A_TIME = 1024  # images
KEYS = ("train_images", "train_labels", "test_images", "test_labels", "classes", "sha256")
VALIDATION_KEYS = ("validation_images", "validation_labels")  # of a dataset that brings a validation split


def save_packed(dataset: Dataset, path: Path) -> None:
    """Write images, labels, class names and their digest; the file is whole or absent."""
    content = {
        "train_images": dataset.train.images.cpu().clone(),  # clone: a view would drag its whole storage along
        "train_labels": dataset.train.labels.cpu().clone(),
        "test_images": dataset.test.images.cpu().clone(),
        "test_labels": dataset.test.labels.cpu().clone(),
        "classes": list(dataset.classes),
        "sha256": dataset.digest,
    }
    if dataset.validation is not None:
        tensors = dataset.validation.images.cpu().clone(), dataset.validation.labels.cpu().clone()
        content |= dict(zip(VALIDATION_KEYS, tensors, strict=True))
    write_atomically(path, lambda partial: torch.save(content, partial))


def load_packed(path: Path, name: str, image_size: int | None = None) -> Dataset:
    """Read what :func:`save_packed` wrote, without unpickling anything but tensors, lists and text.

    Raises DataError naming the file if it is missing, damaged, or something else.
    """
    with as_data_error(path):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as problem:  # torch's own text tells how to load it none the less
            raise DataError(
                f"{path}: damaged, or not a packed dataset: anything but tensors, lists and text is not loaded"
            ) from problem
    if not isinstance(content, dict) or set(content) - set(VALIDATION_KEYS) != set(KEYS):
        raise DataError(f"{path}: not a packed dataset; save_packed writes one, with {', '.join(KEYS)}")
    classes = content["classes"]
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise DataError(f"{path}: the class names must be a list of text")
    train, test = (
        Split(_tensor(path, content, f"{split}_images"), _tensor(path, content, f"{split}_labels"))
        for split in ("train", "test")
    )
    validation = None
    if content.keys() & set(VALIDATION_KEYS):
        validation = Split(*(_tensor(path, content, key) for key in VALIDATION_KEYS))
    # Named so, that what is refused names the file.
    dataset = Dataset(str(path), train, test, tuple(classes), validation)
    if dataset.digest != content["sha256"]:
        raise DataError(f"{path}: damaged, its content is not what its digest says")
    if image_size is not None:
        train, test = resized(train, image_size), resized(test, image_size)
        validation = None if validation is None else resized(validation, image_size)
    return Dataset(name, train, test, dataset.classes, validation)


def _tensor(path: Path, content: dict[str, Any], key: str) -> Tensor:
    value = content.get(key)
    # Contiguous: a hostile file can hold a tensor of terabytes that repeats one byte.
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or not value.is_contiguous():
        raise DataError(f"{path}: {key} must be a plain, contiguous tensor")
    return value


def resized(split: Split, image_size: int) -> Split:
    """The split with its images resized to ``image_size`` × ``image_size`` pixels, a few at a time."""
    if split.images.shape[-2:] == (image_size, image_size):
        return split
    parts = [resize(part, image_size) for part in torch.split(split.images, RESIZED_AT_A_TIME)]
    return Split(torch.cat(parts), split.labels)
