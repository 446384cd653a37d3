"""The source files of a user's own network, and one digest of them."""

import hashlib
from pathlib import Path

from orchestrator.architectures.imports import imported_files, package_root


def file_digest(file: Path) -> str:
    """sha256 (hexadecimal) of ``file`` and of what it imports from beside it, independent of the folder.

    For a file that is part of a package, the whole package. Raises OSError if the file cannot be read, and TooManyError
    if it imports a package that is too large.
    """
    return _digest(file.read_bytes(), package_root(file), files_of(file))


def files_of(file: Path) -> list[Path]:
    """The other files of ``file``: what it imports from beside it, or its whole package."""
    root = package_root(file)
    beside = imported_files(file.parent, [file])
    package = [] if root == file.parent else imported_files(root, [], [file.relative_to(root).parts[0]])
    return [path for path in dict.fromkeys([*beside, *package]) if path != file]


def package_files(root: Path, top: str) -> list[Path]:
    """The files of the module or package that ``import top`` finds in ``root``, and of what these import there.

    Empty for a name that Python or this project has, and for what is not written in Python.
    """
    return imported_files(root, [], [top])


def package_digest(root: Path, top: str) -> str:
    """The digest of :func:`package_files`. Raises ValueError if there are none."""
    if not (files := package_files(root, top)):
        raise ValueError(f"no file of {top} in {root}")  # a digest of nothing would be that of anything
    return _digest(b"", root, files)


def _digest(content: bytes, root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256(content)
    for path in sorted(files):
        digest.update(b"\0" + path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
