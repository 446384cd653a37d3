"""One digest of the source of a user's own network: its file or package, what that imports, and classes it is given."""

import hashlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.architectures.files import file_digest, package_digest
from orchestrator.architectures.imports import TooManyError
from orchestrator.architectures.interactive import interactive_digest
from orchestrator.architectures.library import library_digest, library_of
from orchestrator.architectures.locate import full_name, is_of_this_process, load_network, load_object
from orchestrator.architectures.table import VARIANTS
from orchestrator.errors import VariantError
from orchestrator.spec.references import references


def source_digest(variant: str, arguments: Mapping[str, Any] | None = None) -> str:
    """sha256 (hexadecimal) of the source files of a user's own network; empty for a built-in variant.

    For ``path/to/file.py:Class`` these are the file and what it imports from beside it, for ``package.module:Class``
    the whole package, or only the class's file if the package is installed, for ``timm:name`` the version of timm. The
    sources of the classes and functions that ``arguments`` refer to count as well. Raises VariantError.
    """
    return digest_with(variant, named_in(arguments or {}))


def named_in(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes and functions that ``arguments`` refer to, independent of the order of keys."""
    if not any(references(arguments)):
        return ()
    return tuple(references(json.loads(json.dumps(arguments, sort_keys=True))))


def digest_with(variant: str, names: Iterable[str]) -> str:
    """:func:`source_digest` of ``variant`` with arguments that refer to ``names``, in this order."""
    own = "" if variant in VARIANTS else _digest(variant, load_network(variant))
    others = [_digest(name, load_object(variant, name)) for name in _elsewhere(variant, names)]
    return _joined(own, others)


def unimported_digest(variant: str, arguments: Mapping[str, Any] | None = None) -> str:
    """The same of built-in variants, files and libraries, with the name, without executing anything.

    Raises OSError if a file cannot be read, and VariantError for ``package.module:Class``, which must be imported.
    """
    own = "" if variant in VARIANTS else _unimported(variant)
    others = [_unimported(name) for name in _elsewhere(variant, named_in(arguments or {}))]
    return _joined(own, others)


def own_root(top: str) -> Path | None:
    """The user's folder in which ``import top`` found it; None if it was installed or has no folder."""
    module = sys.modules.get(top)
    file, folders = getattr(module, "__file__", None), list(getattr(module, "__path__", []))
    if not folders and not file:
        return None
    root = Path(folders[0] if folders else str(file)).resolve().parent
    return None if "site-packages" in root.parts else root


def _elsewhere(variant: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` whose source is not that of the variant, with their sources."""
    own = _place(VARIANTS[variant].target if variant in VARIANTS else variant)
    full = [full_name(variant, name) for name in names]
    return [name for name in full if _place(name) != own or is_of_this_process(name)]


def _place(name: str) -> str:
    """The source of ``name``, however its path is written."""
    source = name.rpartition(":")[0]
    return str(Path(source).expanduser().resolve()) if source.endswith(".py") else source


def _joined(own: str, others: list[str]) -> str:
    return hashlib.sha256("\0".join([own, *others]).encode()).hexdigest() if others else own


def _digest(name: str, found: Any) -> str:
    """sha256 (hexadecimal) of the source of ``found``, a class or function called ``name``."""
    if library := library_of(name):
        return library_digest(library)
    source = name.rpartition(":")[0]
    try:
        if source.endswith(".py"):
            return file_digest(Path(source).expanduser().resolve())
        top = source.partition(".")[0]
        if (root := own_root(top)) is not None:
            return package_digest(root, top)
    except TooManyError as problem:
        raise VariantError(f"{name}: {problem}") from problem
    if is_of_this_process(name):
        return interactive_digest(found)
    try:
        file = inspect.getsourcefile(found)
    except TypeError:  # not written in Python
        file = None
    return hashlib.sha256(Path(file).read_bytes() if file else _version(top).encode()).hexdigest()


def _version(top: str) -> str:
    """The name of an installed package and, where it is that of its distribution, its version."""
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        return top


def _unimported(name: str) -> str:
    source, _, short = name.rpartition(":")
    if library := library_of(name):
        return f"{short} {library_digest(library)}"
    if not source.endswith(".py"):
        raise VariantError(f"{name}: its files are known only after importing it")
    try:
        return f"{short} {file_digest(Path(source).expanduser().resolve())}"
    except TooManyError as problem:
        raise VariantError(f"{name}: {problem}") from problem
