"""One ``.npz`` file of numpy arrays, by the names that Keras (``x_train``) or MedMNIST (``train_images``) give them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.channels import to_channels
from orchestrator.data.dataset import CHANNELS, Dataset, Split
from orchestrator.data.errors import as_data_error, require
from orchestrator.data.labels import UNLABELLED, Label, check_kinds, class_labels, numbered
from orchestrator.data.packed import resized
from orchestrator.data.split_names import choose_splits
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec

NAMES = (("x_{}", "y_{}"), ("X_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_images", "{}_labels"), ("{}_x", "{}_y"))
KINDS = {"i": "whole numbers", "u": "whole numbers", "b": "bool", "U": "text"}  # numpy's letters for types of labels


def load_npz(path: Path, spec: DatasetSpec) -> Dataset:
    """Read images (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) uint8 and labels (N,) or (N, 1) of each split.

    Without a test split, the validation split is the test split, which is said. Classes are the different labels of the
    training images in order. Nothing is unpickled. Raises DataError naming the file and the array.
    """
    numpy = require("numpy", "numpy", "reading .npz files")
    with _opened(numpy, path) as content:
        names = list(content.files)

    def pair(split: str) -> tuple[str, str] | None:
        pairs = ((images.format(split), labels.format(split)) for images, labels in NAMES)
        return next((both for both in pairs if set(both) <= set(names)), None)

    def written(split: str) -> str:
        found = pair(split)
        return found[0] if found else f"x_{split} with y_{split}, or {split}_images with {split}_labels"

    splits = choose_splits(
        path,
        spec.splits,
        holds=lambda name: pair(name) is not None,
        written=written,
        present=lambda: names,
    )
    pairs = [found for name in splits.names if (found := pair(name))]
    labels = {f"{path}, {name}": _labels(f"{path}, {name}", _array(numpy, path, name)) for _, name in pairs}
    check_kinds({where: kind for where, (_, kind) in labels.items()})
    known, notes = class_labels(labels[f"{path}, {pairs[0][1]}"][0])
    read: list[Split] = []
    for images_name, labels_name in pairs:
        images = _images(f"{path}, {images_name}", _array(numpy, path, images_name))
        values = numbered(f"{path}, {labels_name}", labels[f"{path}, {labels_name}"][0], known)
        if len(images) != len(values):
            raise DataError(
                f"{path}: {len(images):,} images in {images_name}, but {len(values):,} labels in {labels_name}"
            )
        split = Split(images, torch.tensor(values, dtype=torch.int64))
        sized = split if spec.image_size is None else resized(split, spec.image_size)
        read.append(Split(to_channels(sized.images, spec.channels or 3), sized.labels))
    said = (*splits.notes, *(f"{path}: {note}" for note in notes))
    return Dataset(spec.name, read[0], read[1], tuple(map(str, known)), read[2] if read[2:] else None, said)


@contextmanager
def _opened(numpy: Any, path: Path) -> Iterator[Any]:
    """The file as a mapping of its arrays, each of which is read when it is asked for."""
    with as_data_error(path), path.open("rb") as file:
        content = numpy.load(file, allow_pickle=False)
        if not hasattr(content, "files"):
            raise DataError(f"{path}: not an .npz file but a single array; save all of them by numpy.savez")
        with content:
            yield content


def _array(numpy: Any, path: Path, name: str) -> Any:
    with _opened(numpy, path) as content, as_data_error(f"{path}, {name}"):
        try:
            return content[name]
        except ValueError as problem:
            if "allow_pickle" not in str(problem):
                raise
            raise DataError(f"{path}, {name}: holds Python objects; save an array of numbers or of text") from problem


def _images(where: str, array: Any) -> Tensor:
    """(N, C, H, W) uint8. Raises DataError that says how to make it so."""
    shape = tuple(map(int, array.shape))
    if array.dtype != "uint8":
        raise DataError(f"{where}: images must be uint8, 0 to 255, not {array.dtype}{_remedy(array)}")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or shape[1] not in CHANNELS or shape[3] in CHANNELS:
        raise DataError(
            f"{where}: images must be (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W), and it must be clear which; "
            f"not {shape}"
        )
    if 0 in shape:
        raise DataError(f"{where}: holds no images, its shape is {shape}")
    return torch.from_numpy(array.copy(order="C"))


def _remedy(array: Any) -> str:
    """What to do about values that are not uint8."""
    if array.dtype.kind not in "fiub" or not array.size:
        return ""
    low, high = array.min(), array.max()
    seen = f", here from {low:.4g} to {high:.4g}"
    if array.dtype.kind == "b":
        return "; save 255 * x.astype('uint8')"
    if low >= 0 and high <= 1 and array.dtype.kind == "f":
        return f"{seen}; save (255 * x).round().astype('uint8')"
    if low >= 0 and high <= 255:
        return f"{seen}; save x.round().astype('uint8')"
    return f"{seen}; scale them to 0 to 255 and save x.round().astype('uint8')"


def _labels(where: str, array: Any) -> tuple[list[Label], str]:
    """The labels and what they are, in words. Raises DataError that says how to make them so."""
    shape = tuple(map(int, array.shape))
    if array.ndim == 2 and shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = "; if they are one-hot, save y.argmax(axis=1)" if array.ndim == 2 else ""
        raise DataError(f"{where}: labels must be (N,) or (N, 1), one for each image, not {shape}{hint}")
    if array.dtype.kind not in KINDS:
        raise DataError(f"{where}: labels must be whole numbers or text, not {array.dtype}; save y.astype('int64')")
    if not shape[0]:
        raise DataError(f"{where}: holds no labels")
    if array.dtype.kind == "i" and (negative := (array < 0).nonzero()[0]).size:
        raise DataError(f"{where}, row {negative[0]}: the label {array[negative[0]]} is negative; {UNLABELLED}")
    return array.tolist(), KINDS[array.dtype.kind]
