"""One digest of the source of a user's own network: its file or package, and what that imports."""

import hashlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.architectures.files import file_digest, package_digest
from orchestrator.architectures.imports import TooManyError
from orchestrator.architectures.locate import is_of_this_process, load_class
from orchestrator.architectures.table import VARIANTS
from orchestrator.errors import VariantError

if TYPE_CHECKING:
    from torch import nn


def source_digest(variant: str) -> str:
    """sha256 (hexadecimal) of the source files of a user's own network; empty for a built-in variant.

    For ``path/to/file.py:Class`` these are the file and what it imports from beside it, for ``package.module:Class``
    the whole package, or only the class's file if the package is installed. Raises VariantError.
    """
    if variant in VARIANTS:
        return ""
    network = load_class(variant)
    source = variant.rpartition(":")[0]
    try:
        if source.endswith(".py"):
            return file_digest(Path(source).expanduser().resolve())
        top = source.partition(".")[0]
        if (root := own_root(top)) is not None:
            return package_digest(root, top)
        if is_of_this_process(variant):
            return _digest_of_methods(network)
        file = inspect.getsourcefile(network)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    except TooManyError as problem:
        raise VariantError(f"{variant}: {problem}") from problem


def unimported_digest(variant: str) -> str:
    """A hash of the source of a built-in variant or a file, without executing anything.

    Raises OSError if the file cannot be read, and VariantError for ``package.module:Class``, which must be imported.
    """
    source, _, name = variant.rpartition(":")
    if variant in VARIANTS:
        return ""
    if not source.endswith(".py"):
        raise VariantError(f"{variant}: its files are known only after importing it")
    try:
        return f"{name} {file_digest(Path(source).expanduser().resolve())}"
    except TooManyError as problem:
        raise VariantError(f"{variant}: {problem}") from problem


def own_root(top: str) -> Path | None:
    """The user's folder in which ``import top`` found it; None if it was installed or has no folder."""
    module = sys.modules.get(top)
    file, folders = getattr(module, "__file__", None), list(getattr(module, "__path__", []))
    if not folders and not file:
        return None
    root = Path(folders[0] if folders else str(file)).resolve().parent
    return None if "site-packages" in root.parts else root


def _digest_of_methods(network: "type[nn.Module]") -> str:
    """For a class without a file: sha256 of the source of its methods, as far as available."""
    digest = hashlib.sha256(network.__qualname__.encode())
    for name, value in sorted(vars(network).items()):
        if inspect.isfunction(value):
            try:
                text = inspect.getsource(value)
            except OSError:
                text = repr((value.__code__.co_code, value.__code__.co_consts))
            digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()
