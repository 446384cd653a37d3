"""A job's working directory: which files of the project folder Ray uploads, how large they are, and their hash."""

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import StorageError

LIMIT = 100 * 2**20  # bytes that a Ray head accepts in one upload
MOST_FILES = 20_000  # more is not a project folder
NAMED = 5  # largest files that an error names
# Patterns of .gitignore. Hidden files hold settings, keys and repositories; they never leave this machine.
EXCLUDES = (
    ".?*", "__pycache__", "*.pyc", "node_modules", "site-packages", "*.egg-info",
    "mlflow.db*", "mlruns", "mlartifacts",
    "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ecdsa*", "id_ed25519*",
    "credentials*", "secrets.*", "kubeconfig*",
)  # fmt: skip


@dataclass
class WorkingDir:
    """The folder that a job gets a copy of; ``excludes`` are the patterns of what stays here, for Ray."""

    folder: Path
    excludes: list[str] = field(default_factory=lambda: list(EXCLUDES))
    files: dict[str, int] = field(default_factory=dict)  # path relative to the folder: size in bytes
    empty: set[str] = field(default_factory=set)  # folders with nothing in them, which Ray uploads too

    def digest(self) -> str:
        """sha256 (hexadecimal) of the names and the content of all files."""
        content = hashlib.sha256()
        for place in sorted(self.files):
            content.update(place.encode() + b"\0" + hashlib.sha256((self.folder / place).read_bytes()).digest())
        return content.hexdigest()

    def size(self) -> int:
        """Total size in bytes. Raises StorageError that names the largest files if Ray would not accept it."""
        total = sum(self.files.values())
        if total > LIMIT:
            largest = sorted(self.files, key=lambda place: -self.files[place])[:NAMED]
            named = ", ".join(f"{place} ({self.files[place] / 2**20:,.1f} MiB)" for place in largest)
            raise StorageError(
                f"{self.folder} holds {total / 2**20:,.1f} MiB to upload, and Ray accepts {LIMIT // 2**20} MiB; list "
                f"in .gitignore or .rayignore what the job does not need. Datasets belong on the head. Largest: {named}"
            )
        return total


def working_dir(folder: Path, stay: Iterable[Path] = ()) -> WorkingDir:
    """What a job gets of ``folder``: all but :data:`EXCLUDES`, ``stay``, and what .gitignore and .rayignore name.

    Environments, links to folders or out of the folder, and what is no regular file stay here, too. Raises
    StorageError if the folder has too many files, and OSError if it cannot be read.
    """
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes  # what Ray itself uploads by

    found = WorkingDir(folder)
    found.excludes += [_pattern(path, folder) for path in stay if path.is_relative_to(folder) and path != folder]
    excluded = _get_excludes(folder, found.excludes)

    def stays(path: Path) -> bool:
        if excluded(path):
            return True
        if _is_regular(path, folder):
            return False
        found.excludes.append(_pattern(path, folder))
        return True

    def add(path: Path) -> None:
        if path.is_file():
            found.files[path.relative_to(folder).as_posix()] = path.stat().st_size
        elif next(path.iterdir(), None) is None:
            found.empty.add(path.relative_to(folder).as_posix())
        if len(found.files) > MOST_FILES:
            raise StorageError(
                f"{folder} has more than {MOST_FILES:,} files to upload; submit from the folder of your project, or "
                "list in .gitignore or .rayignore what the job does not need"
            )

    _dir_travel(folder, [stays], add, include_gitignore=True, logger=_silent)
    return found


def _is_regular(path: Path, folder: Path) -> bool:
    """Whether ``path`` is a folder or a file that can be read and lies, or leads to a file, in ``folder``."""
    try:
        if path.is_dir():
            next(path.iterdir(), None)
            return not path.is_symlink() and not (path / "pyvenv.cfg").exists() and not (path / "conda-meta").is_dir()
        if not path.is_file() or (path.is_symlink() and not path.resolve().is_relative_to(folder)):
            return False
        path.open("rb").close()
    except (OSError, RuntimeError):  # no permission, or links in a circle
        return False
    return True


def _pattern(path: Path, folder: Path) -> str:
    """The pattern that matches ``path`` and nothing else."""
    return "/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", path.relative_to(folder).as_posix())


_silent = logging.getLogger(f"{__name__}.ray")
_silent.setLevel(logging.CRITICAL + 1)
