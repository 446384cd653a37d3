"""Where launches are kept: a folder, or an object store with a working copy here that is never the only one."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from orchestrator.errors import StorageError
from orchestrator.files import from_user
from orchestrator.redact import user_info
from orchestrator.text import first_line

LAST = "outcome.json"  # of a trial folder: copied after all the rest, since it says that the rest is there


@dataclass(frozen=True)
class Storage:
    """``root`` is where this process reads and writes; ``uri`` is what every node calls it, if that is elsewhere."""

    root: Path
    uri: str | None = None

    def __str__(self) -> str:
        return self.uri or str(self.root)

    def address(self, path: Path) -> str:
        """What a worker on any node calls ``path``, which lies below ``root``."""
        if self.uri is None:
            return str(path.resolve())
        location, question, options = self.uri.partition("?")
        return f"{location.rstrip('/')}/{path.relative_to(self.root).as_posix()}{question}{options}"

    @contextmanager
    def reached(self, path: Path) -> Iterator[Path]:
        """The folder ``path`` as another process reaches it: itself, or a copy that is sent back in the end.

        Of a copy only what has changed in it is sent, or removed: others may have written to the folder meanwhile.
        """
        if self.uri is None:
            yield path
            return
        with _working_copy() as root:
            mine = Storage(root, self.uri)
            copy = mine.root / path.relative_to(self.root)
            mine.fetch(copy)
            before = _files(copy)
            yield copy
            mine._push_changes(copy, before)

    def place(self, path: Path) -> str:
        """What a person calls ``path``."""
        return str(path) if self.uri is None else self.address(path)

    def fetch(self, folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Bring here what is missing below ``folder``; ``wanted`` is asked with each path relative to it."""
        for name in self.names(folder):
            if wanted(name) and not (folder / name).exists():
                filesystem, base = open_filesystem(self.address(folder))
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                arriving = (folder / name).with_name(f".{Path(name).name}.arriving")
                with _named(self, "read"):
                    _copy(filesystem, f"{base}/{name}", arriving)
                arriving.rename(folder / name)

    def names(self, folder: Path) -> list[str]:
        """Every file below ``folder`` in the other place, relative to it; none if there is no other place."""
        if self.uri is None:
            return []
        filesystem, base = open_filesystem(self.address(folder))
        with _named(self, "read"):
            return sorted(_names(filesystem, base))

    def children(self, folder: Path) -> set[str]:
        """The names of what lies in ``folder``, here or in the other place."""
        here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if self.uri is None:
            return here
        from pyarrow import fs

        filesystem, base = open_filesystem(self.address(folder))
        with _named(self, "read"):
            found = filesystem.get_file_info(fs.FileSelector(base, allow_not_found=True))
        return here | {entry.base_name for entry in found}

    def size(self, folder: Path) -> int:
        """Bytes of all files below ``folder``, wherever they are kept."""
        if self.uri is None:
            return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        from pyarrow import fs

        filesystem, base = open_filesystem(self.address(folder))
        with _named(self, "read"):
            found = filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return sum(entry.size for entry in found if entry.type == fs.FileType.File)

    def push(self, path: Path) -> None:
        """Make the other place hold what ``path``, a file or a folder, holds here; a folder's outcome comes last."""
        if self.uri is None:
            return
        filesystem, base = open_filesystem(self.address(path))
        with _named(self, "written"):
            if path.is_file():
                _write(filesystem, path, base)
                return
            here = _files(path)
            for name in sorted(here, key=_last_of_all):
                _write(filesystem, path / name, f"{base}/{name}")
            for name in _names(filesystem, base) - here.keys():
                filesystem.delete_file(f"{base}/{name}")

    def _push_changes(self, folder: Path, before: Mapping[str, tuple[int, ...]]) -> None:
        """Make the other place follow what has changed in ``folder`` since it held the files ``before``."""
        filesystem, base = open_filesystem(self.address(folder))
        with _named(self, "written"):
            here = _files(folder)
            for name in sorted((name for name in here if here[name] != before.get(name)), key=_last_of_all):
                _write(filesystem, folder / name, f"{base}/{name}")
            for name in (before.keys() - here.keys()) & _names(filesystem, base):
                filesystem.delete_file(f"{base}/{name}")

    def remove(self, path: Path) -> None:
        """Remove ``path``, a file or a folder, here and there."""
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if self.uri is None:
            return
        from pyarrow.fs import FileType

        filesystem, base = open_filesystem(self.address(path))
        with _named(self, "written"):
            kind = filesystem.get_file_info(base).type
            if kind == FileType.File:
                filesystem.delete_file(base)
            elif kind == FileType.Directory:
                filesystem.delete_dir(base)


FOLDERS = Storage(Path())  # folders of this machine, or shared ones: every node calls them the same


@contextmanager
def open_storage(location: str) -> Iterator[Storage]:
    """The storage at ``location``: a folder, or a URI of pyarrow's (s3://, gs://, ...). Raises StorageError."""
    if "://" not in location:
        yield Storage(from_user(location))
        return
    if location.startswith("file://"):
        yield Storage(Path(location.removeprefix("file://")))
        return
    uri = location.rstrip("/")
    check_uri(uri)
    if not open_filesystem(uri)[1].strip("/"):
        raise StorageError(f"{location} names no bucket; give a folder, s3://bucket/path or gs://bucket/path")
    with _working_copy() as root:
        yield Storage(root, uri)


@contextmanager
def _working_copy() -> Iterator[Path]:
    """A folder for what is kept elsewhere; resolved, so that a resolved path in it is below it too."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-storage-") as made:
        yield Path(made).resolve()


def check_uri(uri: str) -> None:
    """Raise StorageError if ``uri`` holds a user or a key, which would be printed and recorded, or an endpoint."""
    user = user_info(uri)
    if ":" in user or (user and not set("/?#") & set(user)):  # an @ in a path is no user
        raise StorageError(
            "the storage's URI holds a user or a key, and it is printed and recorded: leave it out and put keys "
            "into the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS)"
        )
    if problem := endpoint_problem(uri):
        raise StorageError(f"the storage's URI {problem}")


def endpoint_problem(uri: str) -> str | None:
    """Why ``uri`` names another server than MLflow would send artifacts to, or None: MLflow drops a URI's options."""
    if "endpoint_override" not in dict(parse_qsl(uri.partition("?")[2], keep_blank_values=True)):
        return None
    return (
        "names its server by endpoint_override, which MLflow does not read: artifacts would go to another one; leave "
        "it out and set AWS_ENDPOINT_URL=http://HOST:PORT, here and on every node"
    )


def open_filesystem(address: str) -> tuple[Any, str]:
    """pyarrow's file system for ``address`` and the path within it. Raises StorageError if there is none."""
    import pyarrow as pa
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError, TypeError) as problem:
        raise StorageError(
            f"{address} cannot be used as storage: {first_line(problem)}; "
            "give a folder, s3://bucket/path or gs://bucket/path"
        ) from problem
    return filesystem, path


def _files(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every file below ``folder``, relative to it, with what changes whenever its content does."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_ctime_ns, stat.st_size) for name, stat in found.items()}


def _last_of_all(name: str) -> tuple[bool, str]:
    """The order in which files are sent."""
    return name == LAST, name


def _names(filesystem: Any, base: str) -> set[str]:
    """Every file below ``base``, relative to it."""
    from pyarrow import fs

    found = filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    return {f.path.removeprefix(base).lstrip("/") for f in found if f.type == fs.FileType.File}


def _copy(filesystem: Any, source: str, target: Path) -> None:
    with filesystem.open_input_stream(source) as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing)


def _write(filesystem: Any, source: Path, target: str) -> None:
    """An object appears whole when its stream is closed, or not at all."""
    with source.open("rb") as reading, filesystem.open_output_stream(target) as writing:
        shutil.copyfileobj(reading, writing)


@contextmanager
def _named(storage: Storage, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise StorageError(f"{storage} cannot be {done}: {first_line(problem)}") from problem
