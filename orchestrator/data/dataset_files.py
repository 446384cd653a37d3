"""Where a dataset's files lie, and whether they are the same as before; reads no image and needs no torch."""

import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec, digest
from orchestrator.spec.trial import BUILT_IN
from orchestrator.text import did_you_mean

PYTHON_LAYOUT = "cifar-10-batches-py"  # CIFAR-10 as it is published
ALLOWED = (
    "allowed: digits, cifar10, a folder with train-*.parquet and test-*.parquet, a folder with train/<class>/ and "
    "test/<class>/ or with <class>/ alone, an .npz file, or a .pt file that save_packed wrote"
)


def find_dataset(name: str, data_dir: Path) -> Path:
    """The folder or file ``name``: absolute, or relative to the working directory, or else to ``data_dir``.

    Raises DataError if there is none.
    """
    with suppress(OSError, ValueError, RuntimeError):  # too long, NUL, ~nobody: no path at all
        given = Path(name).expanduser()
        for path in (given, data_dir / given):  # an absolute path stays itself
            if name and path.exists():
                return path
    near = did_you_mean(name, BUILT_IN)
    raise DataError(f"there is no dataset {name!r}, neither in {Path.cwd()} nor in {data_dir}{near}; {ALLOWED}")


def files_fingerprint(spec: DatasetSpec, data_dir: Path) -> str:
    """sha256 of the names, sizes and modification times of the dataset's files; raises DataError if there are none.

    Files with the same fingerprint are taken to be unchanged, as make and rsync take them.
    """
    if spec.name == "digits":  # a file of scikit-learn's
        try:
            return digest(["digits", version("scikit-learn")])
        except PackageNotFoundError as problem:
            raise DataError("scikit-learn is missing") from problem
    if spec.name == "cifar10":
        roots = [path for path in (data_dir / "cifar10", data_dir / PYTHON_LAYOUT) if path.exists()]
    else:
        roots = [find_dataset(spec.name, data_dir)]
    files = [file for root in roots for file in ([root] if root.is_file() else _files(root))]
    if not files:
        raise DataError(f"{spec.name}: there are no files in {data_dir}")
    states = [(str(file.resolve()), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    return digest(states)


def _files(root: Path) -> list[Path]:
    return sorted(Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names)
