"""One digest of the source of a user's own network: its file or package, what that imports, and classes it is given."""

import hashlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.architectures.files import file_digest, files_of, package_digest, package_files
from orchestrator.architectures.fresh import refuse_changed_globals, refuse_other_code, refuse_other_script
from orchestrator.architectures.imports import TooManyError
from orchestrator.architectures.interactive import interactive_digest, script_of
from orchestrator.architectures.library import library_digest, library_of
from orchestrator.architectures.loaded import own_root, refuse_edited, refuse_edited_script, remember
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


def digest_with(variant: str, names: Iterable[str], known: dict[str, str] | None = None) -> str:
    """:func:`source_digest` of ``variant`` with arguments that refer to ``names``, in this order.

    ``known`` are the digests that stand whatever is edited since, by name and by file; new ones are added.
    """
    known = {} if known is None else known
    own = "" if variant in VARIANTS else _first(variant, partial(load_network, variant), known)
    others = [_first(name, partial(load_object, variant, name), known) for name in _elsewhere(variant, names)]
    return _joined(own, others)


def refuse_changed(variant: str, arguments: Mapping[str, Any], digest: str, since: str, remedy: str) -> None:
    """Raise VariantError with ``remedy`` if the source is another than it was ``since``, when it had this ``digest``.

    Without a digest the source is not known, or that of a built-in variant: nothing is refused.
    """
    if digest and source_digest(variant, arguments) != digest:
        raise VariantError(f"{variant} has changed since {since}: {remedy}")


def unimported_digest(variant: str, arguments: Mapping[str, Any] | None = None) -> str:
    """The same of built-in variants, files and libraries, with the name, without executing anything.

    Raises OSError if a file cannot be read, and VariantError for ``package.module:Class``, which must be imported.
    """
    own = "" if variant in VARIANTS else _unimported(variant)
    others = [_unimported(name) for name in _elsewhere(variant, named_in(arguments or {}))]
    return _joined(own, others)


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


def _first(name: str, load: Callable[[], Any], known: dict[str, str]) -> str:
    """The digest of what ``load`` returns, or the ``known`` one of it or of another class in the same file."""
    if name not in known:
        found = load()
        place = _place(name) if name.rpartition(":")[0].endswith(".py") else name
        known[name] = known[place] if place in known else known.setdefault(place, _digest(name, found))
    return known[name]


def _digest(name: str, found: Any) -> str:
    """sha256 (hexadecimal) of the source of ``found``, a class or function called ``name``."""
    if library := library_of(name):
        return library_digest(library)
    source = name.rpartition(":")[0]
    try:
        if source.endswith(".py"):
            return file_digest(Path(source).expanduser().resolve())
        if is_of_this_process(name):
            script = script_of(found)
            return interactive_digest(found) if script is None else _script_digest(name, found, script)
        return _module_digest(name, found)
    except TooManyError as problem:
        raise VariantError(f"{name}: {problem}") from problem


def _script_digest(name: str, found: Any, script: Path) -> str:
    """That of the script and of what it imports from beside it."""
    refuse_edited_script(name, found, script)
    refuse_other_script(name, found, script)
    refuse_other_code(name, files := files_of(script))
    refuse_edited(name, files)
    return file_digest(script)


def _module_digest(name: str, found: Any) -> str:
    """That of a module or package of the user's, or else of the file in which it is, or of the version installed."""
    source = name.rpartition(":")[0]
    top = source.partition(".")[0]
    root = own_root(top)
    if root is not None and (files := package_files(root, top)):
        refuse_edited(name, files)
        refuse_other_code(name, files)
        if file := _source_file(found):
            refuse_changed_globals(name, found, file)
        return package_digest(root, top)
    if (path := _source_file(found)) is None:
        return hashlib.sha256(_version(name, top)).hexdigest()
    remember(getattr(found, "__module__", source))
    refuse_edited(name, [path])
    return hashlib.sha256(path.read_bytes()).hexdigest() if root is None else file_digest(path.resolve())


def _source_file(found: Any) -> Path | None:
    """Where ``found`` is written; None if not in Python."""
    try:
        file = inspect.getsourcefile(found)
    except TypeError:
        return None
    return Path(file) if file else None


def _version(name: str, top: str) -> bytes:
    """The name of an installed package and, where it is that of its distribution, its version; or a compiled file."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return f"{top} {importlib.metadata.version(top)}".encode()
    if top in sys.stdlib_module_names:
        return top.encode()
    if file := getattr(sys.modules.get(name.rpartition(":")[0]), "__file__", None):
        return Path(file).read_bytes()
    raise VariantError(f"{name}: no file has its source, so that an edit would not be noticed; write it to a file")


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
