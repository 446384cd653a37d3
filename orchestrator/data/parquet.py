"""Hugging Face's parquet layout: ``train-*.parquet`` and ``test-*.parquet`` with encoded images and labels."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.errors import as_data_error, require
from orchestrator.data.image_folder import VALIDATION
from orchestrator.data.images import ImageDecoder
from orchestrator.errors import DataError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
ROWS_AT_A_TIME = 1024
SHARD = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.parquet$")  # older ones carry a hash


def find_parquet(folder: Path) -> Path | None:
    """``folder`` itself or the one folder in it that holds ``train-*.parquet``; None if there is none.

    Raises DataError if several do.
    """
    with as_data_error(folder):
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = [path for path in (folder, *inner) if any(path.glob("train-*.parquet"))]
    if len(found) > 1 and found[0] != folder:
        raise DataError(f"{folder}: several datasets, give one of {', '.join(map(str, found))}")
    return found[0] if found else None


def load_parquet(
    folder: Path, name: str, image_size: int | None = None, classes: tuple[str, ...] | None = None
) -> Dataset:
    """Read the parquet files in ``folder``.

    With ``validation-*.parquet`` (or ``valid``, ``val``, ``dev``) as the validation split, or, without
    ``test-*.parquet``, as the test split, which is said.

    Class names come from the files' own metadata; else they are ``classes``; else they are ``0``, ``1``, ... and
    the training labels must run without a gap. Raises DataError naming the file, and the row counted from 0.
    """
    own = [split for split in VALIDATION if any(folder.glob(f"{split}-*.parquet"))]
    if len(own) > 1:
        raise DataError(f"{folder}: several validation splits, {', '.join(own)}; leave one")
    has_test = not own or any(folder.glob("test-*.parquet"))
    splits = [_shards(folder, split) for split in ("train", *(["test"] if has_test else []), *own)]
    train = splits[0]
    files = {path: _ParquetFile(path) for paths in splits for path in paths}
    labels = {path: file.labels() for path, file in files.items()}
    names = {path: named for path, file in files.items() if (named := file.class_names()) is not None}
    first = next(iter(names), None)
    for path, named in names.items():
        if first is not None and named != names[first]:
            raise DataError(f"{path}: its class names are not those of {first}")
    classes = names[first] if first is not None else classes or _counted({label for p in train for label in labels[p]})
    for path, values in labels.items():
        _check_labels(path, values, len(classes))
    decoder = ImageDecoder(image_size)

    def read(paths: list[Path]) -> Split:
        images = decoder.decode(chain.from_iterable(files[path].images(len(labels[path])) for path in paths))
        return Split(images, torch.tensor(list(chain.from_iterable(labels[path] for path in paths))))

    read_splits = [read(paths) for paths in splits]
    validation = read_splits[2] if len(read_splits) > 2 else None
    said: tuple[str, ...] = ()
    if not has_test:
        said = (f"{folder}: without test-*.parquet, {own[0]}-*.parquet is the test split",)
    elif validation is not None:
        said = (f"{folder}: {own[0]}-*.parquet is the validation split",)
    return Dataset(name, read_splits[0], read_splits[1], classes, validation, (*decoder.notes(), *said))


class _ParquetFile:
    """One file's columns, checked for their names and types; the file is opened anew for every reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow = require("pyarrow", "pyarrow", "reading parquet files")
        with as_data_error(path):
            self._schema = self._open().schema_arrow
        names = self._schema.names
        images = [column for column in IMAGE_COLUMNS if column in names]
        if not images or names.count(LABEL_COLUMN) != 1 or names.count(images[0]) != 1:
            raise DataError(
                f"{path}: needs a column {' or '.join(IMAGE_COLUMNS)} and a column {LABEL_COLUMN}, "
                f"not {', '.join(names) or 'none at all'}"
            )
        self._image_column = images[0]
        kind = self._schema.field(LABEL_COLUMN).type
        if not self._arrow.types.is_integer(kind):
            raise DataError(f"{path}: column {LABEL_COLUMN} must hold whole numbers, not {kind}")
        kind = self._schema.field(self._image_column).type
        self._is_struct = self._arrow.types.is_struct(kind)
        encoded = dict(zip(kind.names, kind.fields, strict=True))["bytes"].type if self._has_bytes(kind) else kind
        if not (self._arrow.types.is_binary(encoded) or self._arrow.types.is_large_binary(encoded)):
            raise DataError(f"{path}: column {self._image_column} must hold encoded images as bytes, not {kind}")

    def _has_bytes(self, kind: Any) -> bool:
        return self._is_struct and list(kind.names).count("bytes") == 1

    def _open(self) -> Any:
        parquet = require("pyarrow.parquet", "pyarrow", "reading parquet files")
        return parquet.ParquetFile(self._path, page_checksum_verification=True)

    def _column(self, name: str) -> Iterator[Any]:
        """The column's arrays, a few rows at a time."""
        with as_data_error(self._path):
            for batch in self._open().iter_batches(batch_size=ROWS_AT_A_TIME, columns=[name], use_threads=False):
                yield batch.column(0)

    def class_names(self) -> tuple[str, ...] | None:
        """What Hugging Face's metadata calls the classes, or None if it does not."""
        metadata = self._schema.metadata or {}
        if b"huggingface" not in metadata:
            return None
        with as_data_error(self._path):
            feature = json.loads(metadata[b"huggingface"])["info"]["features"].get(LABEL_COLUMN, {})
            names = feature.get("names")
            if names is not None and not (isinstance(names, list) and all(isinstance(label, str) for label in names)):
                raise DataError(f"{self._path}: the class names in its metadata must be a list of text, not {names!r}")
        return tuple(names) if names else None

    def labels(self) -> list[int]:
        """Every row's label; none is missing or negative."""
        values: list[int | None] = []
        for column in self._column(LABEL_COLUMN):
            values += column.to_pylist()
        for row, value in enumerate(values):
            if value is None:
                raise DataError(f"{self._path}, row {row}: the label is missing")
            if value < 0:
                raise DataError(f"{self._path}, row {row}: the label {value} is negative")
        if not values:
            raise DataError(f"{self._path}: holds no rows")
        return [value for value in values if value is not None]

    def images(self, rows: int) -> Iterator[tuple[str, bytes]]:
        """Where each of the ``rows`` images stands, for messages, and its encoded bytes."""
        compute = require("pyarrow.compute", "pyarrow", "reading parquet files")
        row = 0
        for column in self._column(self._image_column):
            with as_data_error(self._path):
                encoded = compute.struct_field(column, "bytes") if self._is_struct else column
                contents = encoded.to_pylist()
            for content in contents:
                where = f"{self._path}, row {row}"
                if content is None:
                    raise DataError(f"{where}: the image is missing; it must be in the file itself")
                yield where, content
                row += 1
        if row != rows:
            raise DataError(f"{self._path}: damaged, {row} images but {rows} labels")


def _shards(folder: Path, split: str) -> list[Path]:
    """The split's files in order. Raises DataError if there are none, or if some are missing by their own count."""
    with as_data_error(folder):
        paths = sorted(folder.glob(f"{split}-*.parquet"))
    if not paths:
        raise DataError(f"{folder}: there is no {split}-*.parquet")
    counted = [(int(match[1]), int(match[2])) for path in paths if (match := SHARD.search(path.name))]
    if counted and (len(counted) != len(paths) or counted != [(i, len(paths)) for i in range(len(paths))]):
        present = ", ".join(path.name for path in paths)
        raise DataError(f"{folder}: the {split} files are not all there, or not of one set: {present}")
    return paths


def _counted(labels: set[int]) -> tuple[str, ...]:
    """Names for classes that have none; a label beyond their number is refused with its row afterwards."""
    return tuple(map(str, range(len(labels))))


def _check_labels(path: Path, labels: list[int], classes: int) -> None:
    for row, label in enumerate(labels):
        if label >= classes:
            raise DataError(f"{path}, row {row}: the label {label} is too big, there are {classes} classes (from 0)")
