"""The package's two boundaries: whatever a decoder raises, and whatever is not installed, becomes a DataError."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import DataError
from orchestrator.text import in_one_line


@contextmanager
def as_data_error(where: object) -> Iterator[None]:
    """Turn anything that a decoder raises inside the block into a DataError that opens with ``where``.

    Damaged bytes make decoders raise almost anything (SyntaxError, struct.error, zlib.error, MemoryError, ...), and
    the list changes with their releases; so this, and only this, is where the package catches every exception.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as problem:
        raise DataError(f"{where}: damaged or not what it says it is ({in_one_line(problem)})") from problem


def require(module: str, package: str, purpose: str) -> Any:
    """Import ``module``. Raises DataError naming the ``package`` to install if it is missing or broken."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as problem:  # RuntimeError: torchvision built for another torch
        raise DataError(
            f"{purpose} needs {package}, which cannot be imported here ({problem}). Install it "
            f"(pip install {package}), or pack the dataset with save_packed on a machine that has it and "
            "give the .pt file instead"
        ) from problem
