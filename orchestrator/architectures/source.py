"""The Python files that a network of the user's own is made of: one digest of them all, and how they are read."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from orchestrator.architectures.neighbours import neighbours


def file_digest(file: Path) -> str:
    """sha256 (hexadecimal) of ``file`` and of what it imports from beside it, wherever the folder lies.

    Raises OSError if the file cannot be read, and TooManyError if it imports a package beyond all bounds.
    """
    return _digest(file.read_bytes(), file.parent, _beside(file))


def package_digest(root: Path, top: str) -> str:
    """The same of the module or package that ``import top`` finds in ``root``."""
    return _digest(b"", root, neighbours(root, [], [top]))


@contextmanager
def own_neighbours(file: Path) -> Iterator[None]:
    """While ``file`` is executed: its imports look beside it first, and read what lies there anew.

    Two networks may so have neighbours of one name in folders of their own. Modules from elsewhere that bore such a
    name come back afterwards: an import inside a function, carried out later, finds those.
    """
    tops = {path.relative_to(file.parent).parts[0].removesuffix(".py") for path in _beside(file)}
    tops = {top for top in tops if not _is_hidden(file.parent, top)}
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in tops}
    _forget(tops)
    sys.path.insert(0, str(file.parent))
    compiles, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would hide an edit within the same second
    try:
        yield
    finally:
        sys.dont_write_bytecode = compiles
        sys.path.remove(str(file.parent))
        elsewhere = {name: module for name, module in before.items() if not _lies_in(module, file.parent)}
        _forget({name.partition(".")[0] for name in elsewhere})
        sys.modules.update(elsewhere)


def _beside(file: Path) -> list[Path]:
    return [path for path in neighbours(file.parent, [file]) if path != file]


def _digest(content: bytes, root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256(content)
    for path in sorted(files):
        digest.update(b"\0" + path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _is_hidden(folder: Path, top: str) -> bool:
    """Whether ``import top`` finds another module before the one in ``folder``: to Python, a mere folder comes last."""
    is_mere_folder = not (folder / f"{top}.py").is_file() and not (folder / top / "__init__.py").is_file()
    return is_mere_folder and getattr(sys.modules.get(top), "__file__", None) is not None


def _forget(tops: set[str]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    places = [*getattr(module, "__path__", []), getattr(module, "__file__", None) or ""]
    return any(Path(place).resolve().is_relative_to(folder) for place in places if place)
