"""Import a user's file with private copies of the modules beside it, so that their names may repeat.

Each file gets a private package in ``sys.modules``, named after its path and content, and its neighbours become modules
of that package. Every module in it has an ``__import__`` of its own, which looks beside the file before it looks
elsewhere, as ``python file.py`` does: also long after the file was executed, from within a constructor or a method, in
any thread. ``importlib.import_module`` does not use it; untracked.py reports where a file calls that.
"""

import builtins
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from orchestrator.architectures.imports import is_module, package_root

PREFIX = "orchestrator_user_"
_lock = threading.RLock()


@dataclass(frozen=True)
class Private:
    """The private package ``name`` of the file ``file``; ``root`` is where its absolute names begin."""

    name: str
    file: Path
    root: Path  # the file's folder, or above it if that folder is part of a package

    @property
    def beside(self) -> str:
        """The private name of the file's own folder."""
        return ".".join([self.name, *self.file.parent.relative_to(self.root).parts])

    def resolve(self, top: str) -> str | None:
        """The private package in which ``import top`` is found; None if it comes from elsewhere."""
        if is_module(self.file.parent, top) and not self._comes_from_elsewhere(top):
            return self.beside
        parts = self.file.parent.relative_to(self.root).parts
        return self.name if parts and parts[0] == top else None

    def _comes_from_elsewhere(self, top: str) -> bool:
        """To Python a mere folder comes last."""
        folder = self.file.parent
        if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
            return False
        return top in sys.modules or importlib.util.find_spec(top) is not None

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # the names are Python's
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` of every module in this package."""
        top = name.partition(".")[0]
        within = self.resolve(top) if level == 0 else None
        if within is None:
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = importlib.import_module(f"{within}.{name}")
        if fromlist:  # finds modules among the names
            return builtins.__import__(f"{within}.{name}", globals, locals, fromlist, 0)
        return module if name == top else sys.modules[f"{within}.{top}"]


class _Loader(importlib.machinery.SourceFileLoader):
    """Executes a module with its package's ``__import__``; never from a compiled file, which hides a quick edit."""

    def __init__(self, fullname: str, path: str, private: Private) -> None:
        super().__init__(fullname, path)
        self.private = private

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile what the file holds now."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        """Execute it where ``import`` means the private one."""
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.private.import_}
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of private packages, so that they are executed by :class:`_Loader`."""

    def __init__(self) -> None:
        self.packages: dict[str, Private] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What the folders of the package hold under that name."""
        private = self.packages.get(fullname.partition(".")[0])
        if private is None or path is None:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is not None and isinstance(found.loader, importlib.machinery.SourceFileLoader):
            found.loader = _Loader(fullname, found.loader.path, private)
            found.cached = None
        return found


_finder = _Finder()


def import_file(file: Path, content: str) -> ModuleType:
    """The module of ``file``, an absolute path, executed once for each ``content``.

    ``content`` is the digest of it and its neighbours. Raises whatever the file raises, and keeps nothing of it then.
    """
    key = hashlib.sha256(f"{file} {content}".encode()).hexdigest()[:16]
    private = Private(f"{PREFIX}{key}", file, package_root(file))
    main = f"{private.beside}.{file.stem.replace('.', '_')}"
    with _lock:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        if main in sys.modules and private.name in _finder.packages:
            return sys.modules[main]
        _finder.packages[private.name] = private
        importlib.invalidate_caches()  # what was written a moment ago is found
        root = ModuleType(private.name)
        root.__path__ = [str(private.root)]
        sys.modules[private.name] = root
        try:
            importlib.import_module(private.beside)  # the packages that the file is part of
            return sys.modules[main] if main in sys.modules else _execute(main, file, private)
        except BaseException:
            for name in [name for name in sys.modules if name.partition(".")[0] == private.name]:
                del sys.modules[name]
            del _finder.packages[private.name]
            raise


def _execute(name: str, file: Path, private: Private) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file, loader=_Loader(name, str(file), private))
    assert spec is not None  # a loader is given
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
