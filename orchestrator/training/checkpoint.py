"""Checkpoints that are whole or absent: written beside, synced, renamed; read without pickle and verified."""

import ctypes
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.files import write_atomically

DIGEST = "sha256"


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` (tensors, numbers, text, lists, mappings) with a digest of itself; atomic."""
    whole = {**content, DIGEST: content_digest(content)}
    content_bytes = io.BytesIO()  # in memory first: torch's own writer hides a full disk behind a RuntimeError
    torch.save(whole, content_bytes)
    write_atomically(path, lambda partial: partial.write_bytes(content_bytes.getbuffer()))


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote, onto the CPU. Raises CheckpointError naming the file if it is damaged."""
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        expected = whole.pop(DIGEST, None) if isinstance(whole, dict) else None
        sound = expected is not None and content_digest(whole) == expected
    except FileNotFoundError as problem:
        raise CheckpointError(f"{path}: there is no such checkpoint") from problem
    except Exception as problem:  # damaged bytes make torch raise almost anything
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({_first_line(problem)})") from problem
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
        flat = value.detach().cpu().contiguous()
        accumulated.update(f"tensor {flat.dtype} {tuple(flat.shape)}".encode())
        accumulated.update(ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size()))
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


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
