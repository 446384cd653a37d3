"""One parquet file's columns of images and labels, checked for their names and types."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.data.errors import as_data_error, require
from orchestrator.data.labels import UNLABELLED, Label
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"
ROWS_AT_A_TIME = 1024


class ParquetFile:
    """The columns that the settings or their usual names choose; the file is opened anew for every reading."""

    def __init__(self, path: Path, spec: DatasetSpec) -> None:
        self._path = path
        self._arrow = require("pyarrow", "pyarrow", "reading parquet files")
        with as_data_error(path):
            self._schema = self._open().schema_arrow
        self._image_column = self._choose("image", spec.image_column, IMAGE_COLUMNS)
        self._label_column = self._choose("label", spec.label_column, (LABEL_COLUMN,))
        kind = self._schema.field(self._label_column).type
        self.kind = self._label_kind(kind)  # what the labels are, in words
        if not self.kind:
            raise DataError(f"{path}: column {self._label_column} must hold whole numbers, text or bool, not {kind}")
        kind = self._schema.field(self._image_column).type
        self._is_struct = self._arrow.types.is_struct(kind)
        if not self._holds_images(kind):
            raise DataError(f"{path}: column {self._image_column} must hold encoded images as bytes, not {kind}")

    def _choose(self, what: str, wanted: str | None, usual: tuple[str, ...]) -> str:
        """The column of ``what``. Raises DataError that lists those that could be meant."""
        names = list(self._schema.names)
        fits = self._holds_images if what == "image" else self._label_kind
        found = [name for name in ((wanted,) if wanted else usual) if names.count(name) == 1]
        if not found:
            could = [name for name in dict.fromkeys(names) if fits(self._schema.field(names.index(name)).type)]
            asked = wanted or " or ".join(usual)
            choice = f"set dataset.{what}_column to one of: {', '.join(could)}" if could else "none of them could be it"
            present = ", ".join(names) or "none at all"
            raise DataError(f"{self._path}: has no column {asked} for the {what}s, but {present}; {choice}")
        return found[0]

    def _label_kind(self, kind: Any) -> str:
        types = self._arrow.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_string(kind) or types.is_large_string(kind):
            return "text"
        return "bool" if types.is_boolean(kind) else "whole numbers" if types.is_integer(kind) else ""

    def _holds_images(self, kind: Any) -> bool:
        types = self._arrow.types
        if types.is_struct(kind):
            if list(kind.names).count("bytes") != 1:
                return False
            kind = dict(zip(kind.names, kind.fields, strict=True))["bytes"].type
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

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
            feature = json.loads(metadata[b"huggingface"])["info"]["features"].get(self._label_column, {})
            names = feature.get("names")
            if names is not None and not (isinstance(names, list) and all(isinstance(label, str) for label in names)):
                raise DataError(f"{self._path}: the class names in its metadata must be a list of text, not {names!r}")
        return tuple(names) if names else None

    def labels(self) -> list[Label]:
        """Every row's label; none is missing, negative or empty."""
        values: list[Label | None] = []
        for column in self._column(self._label_column):
            values += column.to_pylist()
        for row, value in enumerate(values):
            if value is None or value == "":
                raise DataError(f"{self._path}, row {row}: the label is missing")
            if not isinstance(value, str) and value < 0:
                raise DataError(f"{self._path}, row {row}: the label {value} is negative; {UNLABELLED}")
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
