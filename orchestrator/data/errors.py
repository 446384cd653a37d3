"""The package's two boundaries: whatever a decoder raises, and whatever is not installed, becomes a DataError."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import DataError
from orchestrator.text import in_one_line

# What decoders' messages say of themselves: an object's place in memory, and colours of a terminal.
INSIDES = re.compile(r"\s*<[^<>]* at 0x[0-9A-Fa-f]+>|\x1b\[[0-9;]*m")


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
        said = INSIDES.sub("", in_one_line(problem))
        raise DataError(f"{where}: damaged or not what it says it is ({said})") from problem


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
