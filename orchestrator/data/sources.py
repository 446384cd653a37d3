"""Where pictures come from: a data set by name, or by the path of a folder or file."""

from contextlib import suppress
from pathlib import Path

from orchestrator.data.cifar10 import load_cifar10
from orchestrator.data.dataset import Dataset
from orchestrator.data.digits import load_digits
from orchestrator.data.image_folder import load_image_folder
from orchestrator.data.packed import load_packed
from orchestrator.data.parquet import find_parquet, load_parquet
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec

ALLOWED = (
    "allowed: digits, cifar10, a folder with train-*.parquet and test-*.parquet, a folder with train/<class>/ and "
    "test/<class>/, or a .pt file that save_packed wrote"
)


def load_dataset(spec: DatasetSpec, data_dir: Path) -> Dataset:
    """The data set that ``spec`` names, decoded and in memory.

    A path is absolute, or relative to the working directory, or else to ``data_dir``; the names ``digits`` and
    ``cifar10`` come before any folder so called (write ``./cifar10`` for that). Raises DataError naming the file if
    anything is missing, damaged or mislabelled.
    """
    if spec.name == "digits":
        return load_digits(spec.image_size)
    if spec.name == "cifar10":
        return load_cifar10(data_dir, spec.image_size)
    path = _find(spec.name, data_dir)
    if path.is_file():
        if path.suffix != ".pt":
            raise DataError(f"{path}: not a data set; {ALLOWED}")
        return load_packed(path, spec.name, spec.image_size)
    if (parquet := find_parquet(path)) is not None:
        return load_parquet(parquet, spec.name, spec.image_size)
    if (path / "train").is_dir():
        return load_image_folder(path, spec.name, spec.image_size)
    raise DataError(f"{path}: holds neither train-*.parquet nor train/; {ALLOWED}")


def _find(name: str, data_dir: Path) -> Path:
    with suppress(OSError, ValueError, RuntimeError):  # too long, NUL, ~nobody: no path at all
        given = Path(name).expanduser()
        for path in (given, data_dir / given):  # an absolute path stays itself
            if name and path.exists():
                return path
    raise DataError(f"there is no data set {name!r}, neither in {Path.cwd()} nor in {data_dir}; {ALLOWED}")
