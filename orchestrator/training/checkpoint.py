"""Checkpoints that are whole or absent: written beside, synced, renamed; read without pickle and verified."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.files import write_atomically
from orchestrator.text import first_line

DIGEST = "sha256"
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` (tensors, numbers, text, lists, mappings) with a digest of itself; atomic."""
    whole = {**content, DIGEST: content_digest(content)}
    write_atomically(path, lambda partial: _write(partial, whole))


class _File(io.BufferedWriter):
    """A file that remembers why it could not be written: torch's own writer hides a full disk behind a RuntimeError."""

    problem: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as problem:
            self.problem = problem
            raise


def _write(path: Path, whole: Mapping[str, Any]) -> None:
    with _File(io.FileIO(path, "w")) as file:
        try:
            torch.save(whole, file)
            file.flush()
        except Exception:
            if file.problem is None:
                raise
            raise file.problem from None


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote, onto the CPU. Raises CheckpointError naming the file if it is damaged."""
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        expected = whole.pop(DIGEST, None) if isinstance(whole, dict) else None
        sound = expected is not None and content_digest(whole) == expected
    except FileNotFoundError as problem:
        raise CheckpointError(f"{path}: there is no such checkpoint") from problem
    except Exception as problem:  # damaged bytes make torch raise almost anything
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({first_line(problem)})") from problem
    if expected is None:
        raise CheckpointError(f"{path}: not one of our checkpoints, it carries no digest")
    if not sound:
        raise CheckpointError(f"{path}: damaged, its content is not what its digest says")
    return dict(whole)


def content_digest(content: Any) -> str:
    """sha256 (hexadecimal) of nested mappings, lists, numbers, text and tensors (their bits, shapes and types)."""
    accumulated = hashlib.sha256()
    _feed(accumulated, content)
    return accumulated.hexdigest()


def _feed(accumulated: "hashlib._Hash", value: Any) -> None:
    if isinstance(value, Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError("a tensor that repeats its numbers")  # a small file could fill the memory
        accumulated.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        accumulated.update(_bits(value.detach().cpu()))
    elif isinstance(value, Mapping):
        accumulated.update(f"mapping {len(value)}".encode())
        for key in sorted(value, key=str):
            accumulated.update(f"{type(key).__name__} {key!s}".encode())
            _feed(accumulated, value[key])
    elif isinstance(value, (list, tuple)):
        accumulated.update(f"list {len(value)}".encode())
        for item in value:
            _feed(accumulated, item)
    else:
        accumulated.update(f"{type(value).__name__} {value!r}".encode())


def _bits(tensor: Tensor) -> memoryview:
    """The numbers in order, as they lie in memory if they lie in order.

    By numpy: torch would copy with threads of its own, and those of a training beside it would get slower.
    """
    same_width = _INTEGERS.get(tensor.itemsize, tensor.dtype)  # numpy does not know every type of torch's
    return np.ascontiguousarray(tensor.view(same_width).numpy()).data
