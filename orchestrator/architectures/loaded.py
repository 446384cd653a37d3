"""The user's modules that this process has imported: where they are, and whether a file was edited since."""

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from orchestrator.architectures.files import package_files
from orchestrator.architectures.imports import OWN
from orchestrator.architectures.private import PREFIX
from orchestrator.errors import VariantError


@dataclass(frozen=True)
class _Import:
    by: object  # its specification, which is another one after importlib.reload
    file: str
    digest: str  # of the file, when it was first seen to be imported


_PYTHON = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))
_imports: dict[str, _Import] = {}  # by the module's name
_scripts: "WeakKeyDictionary[Any, str]" = WeakKeyDictionary()  # by class or function: the digest of its script


def own_root(top: str) -> Path | None:
    """The user's folder in which ``import top`` found it; None if it was installed or has no folder."""
    module = sys.modules.get(top)
    file, folders = getattr(module, "__file__", None), list(getattr(module, "__path__", []))
    if not folders and not file:
        return None
    root = Path(folders[0] if folders else str(file)).resolve().parent
    return None if "site-packages" in root.parts else root


def own_folder(name: str) -> Path | None:
    """The folder in which the user's own module called ``name`` is, imported or not; None if it is not the user's."""
    top = name.partition(".")[0]
    if top in (OWN, "__main__", ""):
        return None
    root = own_root(top) if top in sys.modules else Path.cwd()
    is_own = root is not None and not is_installed(f"{root}{os.sep}") and package_files(root, top)
    return root if is_own else None


def is_installed(file: str) -> bool:
    """Whether ``file`` is part of Python or of an installed package."""
    parts = Path(file).parts
    return "site-packages" in parts or "dist-packages" in parts or file.startswith((*_PYTHON, "<frozen "))


def remember(source: str) -> None:
    """Remember what the file of the module ``source`` holds, and those of the user's other modules in its folder.

    What is remembered already stands until the module is reloaded.
    """
    root = own_root(source.partition(".")[0])
    for name in [source] if root is None else list(sys.modules):
        module = vars(sys.modules[name]) if hasattr(sys.modules.get(name), "__dict__") else {}
        file, by = module.get("__file__"), module.get("__spec__")
        if not isinstance(file, str) or by is None or name == "__main__" or name.startswith(PREFIX):
            continue  # what is private is executed again when it is edited
        if root is not None and ("site-packages" in file or not real(file).startswith(f"{root}{os.sep}")):
            continue
        if name not in _imports or _imports[name].by is not by:
            with suppress(OSError):  # it has been removed
                _imports[name] = _Import(by, real(file), _content(file))


def refuse_edited(name: str, files: Iterable[Path]) -> None:
    """Raise VariantError if one of ``files``, those of the network ``name``, is not what this process has imported."""
    real = {os.path.realpath(file) for file in files}
    for module, known in list(_imports.items()):
        is_here = getattr(sys.modules.get(module), "__spec__", None) is known.by
        if is_here and known.file in real and _content(known.file) != known.digest:
            raise edited(name, known.file)


def refuse_edited_script(name: str, found: Any, script: Path) -> None:
    """The same of ``script``, which runs, and in which ``found`` was defined."""
    if _scripts.setdefault(found, now := _content(str(script))) != now:
        raise edited(name, str(script))


def edited(name: str, file: str) -> VariantError:
    """That the file of the network ``name`` is not what this process has imported."""
    _, colon, short = name.rpartition(":")
    other = f"name the network by its file, path/to/file.py:{short}" if colon else "reload it and what uses it"
    return VariantError(
        f"{name}: {file} was edited since it was imported here, and what would be trained is the old code: restart "
        f"this process, or {other}"
    )


def _content(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@lru_cache(maxsize=10_000)
def real(file: str) -> str:
    """``os.path.realpath``, once for each path."""
    return os.path.realpath(file)
