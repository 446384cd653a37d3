"""Which Python files a file imports from beside it, without executing any of them."""

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

LIMIT = 20_000  # limit of files and folders below one imported package
SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages", "venv"}
SKIPPED_UNLESS_PACKAGE = {"data", "storage", "mlruns", "mlartifacts", "env", "build", "dist"}
IMPORTERS = ("import_module", "__import__")  # functions that import the module named by their first argument
OWN = "orchestrator"  # the cluster has this project itself
_imported: dict[bytes, frozenset[str]] = {}  # what a file of this content (its sha256) imports


class TooManyError(Exception):
    """A folder has more files than a network's source can have; the text names it."""


def imported_files(root: Path, start: Iterable[Path], names: Iterable[str] = ()) -> list[Path]:
    """Files in ``root`` that ``start`` import, directly or through one another, and the modules called ``names``.

    A module is its file, a package its whole tree of ``*.py``; whatever is not found in ``root`` comes from elsewhere
    and is left out, and so are hidden files and folders, environments, data, and links to what is no ``*.py``. Every
    path returned lies below ``root`` as written, links or not. Raises TooManyError if a package is too large.
    """
    waiting, known, taken = list(start), set[str](), dict[Path, None]()

    def take(name: str) -> None:
        if name in known or name == OWN or name in sys.stdlib_module_names or name.startswith("."):
            return
        known.add(name)
        for file in _module(root, name):
            if file not in taken:
                taken[file] = None
                waiting.append(file)

    for name in sorted(set(names)):
        take(name)
    while waiting:
        for name in sorted(imported(waiting.pop())):
            take(name)
    return list(taken)


def package_root(file: Path) -> Path:
    """The folder in which the outermost package of ``file`` lies; its own folder if that is no package."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def is_module(folder: Path, name: str) -> bool:
    """Whether ``import name`` may mean a file or folder of the user's own in ``folder``."""
    if name in (OWN, "") or name in sys.stdlib_module_names or name.startswith("."):
        return False
    return any(True for _ in _module(folder, name))


def imported(file: Path) -> frozenset[str]:
    """Top-level names of all modules that ``file`` imports, anywhere in it.

    None if it cannot be read as Python.
    """
    try:
        content = file.read_bytes()
    except OSError:
        return frozenset()
    key = hashlib.sha256(content).digest()
    if key not in _imported:  # before every trial: reading a file is quick, and parsing it is not
        _imported[key] = _named_by_imports(content)
    return _imported[key]


def _named_by_imports(content: bytes) -> frozenset[str]:
    try:
        tree = ast.parse(content)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):  # at any level: what a package's parent holds is its own as well
            whole = [node.module] if node.module else [alias.name for alias in node.names]  # from . import name
            names |= {name.partition(".")[0] for name in whole}
        elif isinstance(node, ast.Call) and called(node) in IMPORTERS:
            given = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if isinstance(given, str):
                names.add(given.lstrip(".").partition(".")[0])
    return frozenset(names)


def called(node: ast.Call) -> str:
    """The last name of the function that is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _module(root: Path, name: str) -> Iterator[Path]:
    """The files of the module or package that ``import name`` finds in ``root``."""
    folder, file = root / name, root / f"{name}.py"
    if is_source(folder / "__init__.py") or (_is_folder(folder) and not is_source(file)):
        if _is_wanted(folder):
            yield from _tree(folder)
    elif is_source(file):
        yield file


def _tree(top: Path) -> Iterator[Path]:
    looked_at, seen = 0, set[str]()
    for folder, folders, files in os.walk(top, followlinks=True):
        here = Path(folder)
        real = os.path.realpath(here)
        if real in seen:  # circular links
            folders.clear()
            continue
        seen.add(real)
        looked_at += len(folders) + len(files)
        if looked_at > LIMIT:
            raise TooManyError(
                f"{top} has more than {LIMIT:,} files and folders, too many for one network's source; keep the "
                "network in a folder of its own"
            )
        folders[:] = sorted(name for name in folders if _is_wanted(here / name))
        yield from (here / name for name in sorted(files) if is_source(here / name))


def _is_wanted(folder: Path) -> bool:
    name = folder.name
    if name.startswith(".") or name in SKIPPED:
        return False
    try:
        is_environment, is_package = (folder / "pyvenv.cfg").exists(), (folder / "__init__.py").is_file()
    except OSError:  # no permission
        return False
    return not is_environment and (is_package or name not in SKIPPED_UNLESS_PACKAGE)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def is_source(path: Path) -> bool:
    """Whether ``path`` is a Python file that may be uploaded: not hidden, and, if a link, one to such a file."""
    if path.suffix != ".py" or path.name.startswith("."):
        return False
    try:
        real = path.resolve()
        return real.is_file() and real.suffix == ".py" and not real.name.startswith(".")
    except (OSError, RuntimeError):  # circular links, no permission
        return False
