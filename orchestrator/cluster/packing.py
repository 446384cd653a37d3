"""What is uploaded with a job: the experiment file, its curve, and the user's own networks with their imports."""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.architectures.neighbours import TooManyError, neighbours
from orchestrator.errors import StorageError

ROOT = PurePosixPath("submitted")  # the job's working directory; beside it lie the packages that are imported by name
MOST_BYTES = 50_000_000  # source is small: more than this is probably data (Ray's limit is 100 MiB)
NAMED = 5  # largest files that an error names


@dataclass
class Package:
    """Files by their path in the job, relative to the uploaded folder.

    ``base`` is the working directory: a file below it keeps its path, so that relative paths still resolve. Any other
    gets a folder of its own, named by a hash of the folder that it comes from.
    """

    base: Path
    files: dict[PurePosixPath, Path] = field(default_factory=dict)

    def add(self, file: Path) -> PurePosixPath:
        """Add one file; returns its path relative to the job's working directory."""
        place = self._folder(file.parent) / file.name
        self._put(ROOT / place, file)
        return place

    def add_network(self, file: Path, also: frozenset[str] = frozenset()) -> PurePosixPath:
        """Add a network's file and what it imports from beside it; ``also`` are further modules that it imported.

        Returns the file's path relative to the job's working directory. Raises StorageError if it is too much.
        """
        folder = self._folder(file.parent)
        for found in self._neighbours(file.parent, [file], also):
            self._put(ROOT / folder / found.relative_to(file.parent).as_posix(), found)
        self._put(ROOT / folder / file.name, file)
        return folder / file.name

    def add_module(self, root: Path, top: str, also: frozenset[str] = frozenset()) -> None:
        """Add the module or package called ``top`` in ``root`` and what it imports from there, importable by name."""
        for found in self._neighbours(root, [], also | {top}):
            self._put(PurePosixPath(found.relative_to(root).as_posix()), found)

    def size(self) -> int:
        """Total size in bytes. Raises StorageError that names the largest files if it is too large for a job."""
        sizes = {place: source.stat().st_size for place, source in self.files.items()}
        total = sum(sizes.values())
        if total > MOST_BYTES:
            largest = sorted(sizes, key=lambda place: -sizes[place])[:NAMED]
            named = ", ".join(f"{self.files[place]} ({sizes[place] / 1e6:,.1f} MB)" for place in largest)
            raise StorageError(
                f"the experiment and its networks are {total / 1e6:,.1f} MB, the limit is "
                f"{MOST_BYTES / 1e6:,.0f} MB of source; datasets belong on the head (--data-dir). Largest: {named}"
            )
        return total

    def write(self, folder: Path) -> None:
        """Copy every file into ``folder``, as plain files, links included. Raises StorageError."""
        for place, source in self.files.items():
            target = folder / place
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            except OSError as problem:
                raise StorageError(f"{source} cannot be packed: {problem.strerror}") from problem
            target.chmod(0o644)

    def _folder(self, folder: Path) -> PurePosixPath:
        if folder.is_relative_to(self.base):
            return PurePosixPath(folder.relative_to(self.base).as_posix())
        return PurePosixPath(f"outside-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}")

    def _neighbours(self, root: Path, start: list[Path], names: frozenset[str]) -> list[Path]:
        try:
            return neighbours(root, start, names)
        except TooManyError as problem:
            raise StorageError(str(problem)) from problem

    def _put(self, place: PurePosixPath, source: Path) -> None:
        before = self.files.setdefault(place, source)
        if before != source and before.read_bytes() != source.read_bytes():
            raise StorageError(f"{before} and {source} would both be {place} in the job; rename one")
