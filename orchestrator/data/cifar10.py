"""CIFAR-10 by name: found in either of its two layouts, or downloaded once."""

import hashlib
import http.client
import pickle
import shutil
import socket
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.dataset_files import PYTHON_LAYOUT
from orchestrator.data.errors import as_data_error, require
from orchestrator.data.packed import resized
from orchestrator.data.parquet import find_parquet, load_parquet
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
TEST_FILE = "test_batch"
ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = {  # of each file of the published archive
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
SILENCE = 30.0  # seconds without a byte after which a download is given up
LOCK_WAIT = 3600.0  # seconds to wait for another process's download: 170 MB over a slow line


def load_cifar10(data_dir: Path, image_size: int | None = None) -> Dataset:
    """50,000 training and 10,000 test images of 32 × 32 pixels.

    Looks for parquet files in ``data_dir/cifar10``, then for ``data_dir/cifar-10-batches-py``, and otherwise
    downloads the latter with torchvision. Raises DataError if a file is damaged, or saying what to put where.
    """
    parquet = data_dir / "cifar10"
    if parquet.is_dir() and (found := find_parquet(parquet)) is not None:
        dataset = load_parquet(found, DatasetSpec(name="cifar10", image_size=image_size), CLASSES)
        if len(dataset.classes) != len(CLASSES):
            raise DataError(f"{found}: CIFAR-10 has 10 classes, these files have {len(dataset.classes)}")
        return dataset
    if not (data_dir / PYTHON_LAYOUT).exists():
        download_cifar10(data_dir)
    return read_python_layout(data_dir / PYTHON_LAYOUT, image_size)


def read_python_layout(folder: Path, image_size: int | None = None, checksums: Mapping[str, str] = MD5) -> Dataset:
    """Read the published archive's files. ``checksums``: md5 (hexadecimal) of each file, checked before reading."""
    meta = _read(folder / "batches.meta", checksums)
    with as_data_error(folder / "batches.meta"):
        classes = tuple(name.decode("ascii") for name in meta[b"label_names"])
    train = [_read_batch(folder / name, checksums, len(classes)) for name in TRAIN_FILES]
    images, labels = (torch.cat(parts) for parts in zip(*train, strict=True))
    splits = Split(images, labels), Split(*_read_batch(folder / TEST_FILE, checksums, len(classes)))
    if image_size is not None:
        splits = resized(splits[0], image_size), resized(splits[1], image_size)
    return Dataset("cifar10", *splits, classes)


def _read_batch(path: Path, checksums: Mapping[str, str], classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One file's images (N, 3, 32, 32) uint8 and labels (N,) int64."""
    content = _read(path, checksums)
    with as_data_error(path):
        images = torch.from_numpy(content[b"data"]).reshape(-1, 3, 32, 32)
        labels = torch.tensor(content[b"labels"])
    if images.dtype != torch.uint8 or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: expected as many whole-number labels as images of 3 × 32 × 32 bytes")
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten().tolist()
    if wrong:
        raise DataError(f"{path}, row {wrong[0]}: the label {int(labels[wrong[0]])} is not from 0 to {classes - 1}")
    return images, labels


def _read(path: Path, checksums: Mapping[str, str]) -> dict[bytes, Any]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; unpack {ARCHIVE} anew")
    with as_data_error(path):
        raw = path.read_bytes()
    if hashlib.md5(raw, usedforsecurity=False).hexdigest() != checksums[path.name]:
        raise DataError(f"{path}: damaged, its md5 is not {checksums[path.name]}; unpack {ARCHIVE} anew")
    require("numpy", "numpy", f"reading {PYTHON_LAYOUT}")
    with as_data_error(path):
        content = _ArraysOnly(BytesIO(raw), encoding="bytes").load()
        if not isinstance(content, dict):
            raise DataError(f"{path}: expected a mapping, not {type(content).__name__}")
    return content


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain values and numpy arrays; anything else a pickle can call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """What numpy 1 and 2 need to rebuild an array, by any of the names they have had."""
        import numpy

        allowed = {
            ("numpy", "ndarray"): numpy.ndarray,
            ("numpy", "dtype"): numpy.dtype,
            ("numpy.core.multiarray", "_reconstruct"): numpy.empty(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): numpy.empty(0).__reduce__()[0],
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which is not an array")
        return allowed[module, name]


def download_cifar10(data_dir: Path) -> None:
    """Download into ``data_dir/cifar-10-batches-py``: whole or absent, and once, however many processes ask.

    Raises DataError saying which files to put where if that is not possible.
    """
    import filelock  # comes with torch

    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(data_dir / ".cifar10.lock", timeout=LOCK_WAIT):
            if not (data_dir / PYTHON_LAYOUT).exists():  # another process may have been first
                _download(data_dir)
    except (OSError, RuntimeError, http.client.HTTPException, DataError) as problem:
        raise DataError(
            f"CIFAR-10 is not in {data_dir} and cannot be downloaded ({problem}). Put one of these there:\n"
            f"  {data_dir / 'cifar10' / 'plain_text'}: train-*.parquet and test-*.parquet, from the dataset "
            "uoft-cs/cifar10 at Hugging Face\n"
            f"  {data_dir / PYTHON_LAYOUT}: {', '.join(MD5)}, from {ARCHIVE}"
        ) from problem


def _download(data_dir: Path) -> None:
    datasets = require("torchvision.datasets", "torchvision", "downloading CIFAR-10")
    partial = data_dir / ".cifar10.partial"
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)  # torchvision sets none: a silent network would hold it for ever
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what a killed download left
        datasets.CIFAR10(partial, download=True)  # checks the archive's md5
        (partial / PYTHON_LAYOUT).rename(data_dir / PYTHON_LAYOUT)
    finally:
        socket.setdefaulttimeout(patience)
        shutil.rmtree(partial, ignore_errors=True)
