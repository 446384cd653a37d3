"""CIFAR-10 by name: the published layout without torchvision, the parquet layout, and the download that cannot be."""

import hashlib
import os
import pickle
import socket
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
from patience import PATIENCE

from orchestrator.data import load_dataset
from orchestrator.data.cifar10 import CLASSES, MD5, PYTHON_LAYOUT, TRAIN_FILES, download_cifar10, read_python_layout
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's ``str``, as the published files have them."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_python2_str(self, value):
        raw = value if isinstance(value, bytes) else value.encode("ascii")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str


def write(path: Path, content: object) -> None:
    with path.open("wb") as file:
        Python2Pickler(file, 2).dump(content)


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / PYTHON_LAYOUT
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in (*TRAIN_FILES, "test_batch"):
        data = random.integers(0, 256, (10, 3072), dtype=np.uint8)
        write(
            folder / name, {"data": data, "labels": list(range(10)), "batch_label": name, "filenames": ["x.png"] * 10}
        )
    write(folder / "batches.meta", {"label_names": list(CLASSES), "num_cases_per_batch": 10})
    return folder


def test_the_published_layout_is_what_torchvision_reads(folder):
    from torchvision.datasets import CIFAR10

    class Generated(CIFAR10):  # without the published files' md5
        train_list = [[name, None] for name in TRAIN_FILES]  # noqa: RUF012
        test_list = [["test_batch", None]]  # noqa: RUF012
        meta = {**CIFAR10.meta, "md5": None}  # noqa: RUF012

    dataset = read_python_layout(folder, checksums=checksums(folder))
    assert dataset.classes == CLASSES
    for split, train in ((dataset.train, True), (dataset.test, False)):
        oracle = Generated(folder.parent, train=train)
        assert torch.equal(split.images.permute(0, 2, 3, 1), torch.from_numpy(oracle.data))
        assert split.labels.tolist() == oracle.targets


def test_images_are_resized_on_request(folder):
    assert read_python_layout(folder, image_size=16, checksums=checksums(folder)).shape == (3, 16, 16)


def test_a_file_that_is_not_the_published_one_is_refused_by_name(folder):
    with pytest.raises(DataError, match=r"batches\.meta: damaged, its md5 is not 5ff9"):
        load_dataset(DatasetSpec(name="cifar10"), folder.parent)


@pytest.mark.parametrize("name", list(MD5))
def test_a_missing_or_truncated_file_is_refused_by_name(folder, name):
    table = checksums(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"{name}: damaged, its md5"):
        read_python_layout(folder, checksums=table)
    with pytest.raises(DataError, match=f"{name}: damaged or not"):
        read_python_layout(folder, checksums=checksums(folder))
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: there is no such file"):
        read_python_layout(folder, checksums=table)


class Attack:
    def __reduce__(self):
        return os.system, ("echo attacked",)


def test_a_pickle_that_calls_anything_is_refused_even_with_the_right_checksum(folder, capfd):
    write(folder / "data_batch_2", {"data": Attack(), "labels": []})
    with pytest.raises(DataError, match=r"data_batch_2: .*(posix|nt)\.system"):
        read_python_layout(folder, checksums=checksums(folder))
    assert "attacked" not in capfd.readouterr().out


IMAGES = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected a mapping"),
        ({"labels": [0, 1]}, "KeyError"),
        ({"data": IMAGES, "labels": [0]}, "as many"),
        ({"data": IMAGES.astype(np.int64), "labels": [0, 1]}, "as many"),
        ({"data": IMAGES[:, :3000], "labels": [0, 1]}, "test_batch"),
        ({"data": IMAGES, "labels": [0, 10]}, "row 1: the label 10"),
        ({"data": IMAGES, "labels": [-1, 0]}, "row 0: the label -1"),
        ({"data": IMAGES, "labels": [0.5, 0]}, "whole-number"),
        ({"data": IMAGES, "labels": [None, 0]}, "test_batch"),
    ],
)
def test_content_that_does_not_fit_is_refused(folder, content, message):
    write(folder / "test_batch", content)
    with pytest.raises(DataError, match=message) as refused:
        read_python_layout(folder, checksums=checksums(folder))
    assert str(folder / "test_batch") in str(refused.value)


@pytest.fixture
def offline(monkeypatch):
    """The way out leads to a closed port, whatever network the machine has; for child processes too."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that was made earlier knows other proxies


def test_without_a_network_it_says_what_to_put_where(tmp_path, offline):
    import torchvision.datasets  # noqa: F401  its import is not what is timed

    (tmp_path / "data" / ".cifar10.partial").mkdir(parents=True)  # what a killed download leaves
    patience = socket.getdefaulttimeout()
    with pytest.raises(DataError) as refused:
        load_dataset(DatasetSpec(name="cifar10"), tmp_path / "data")
    text = str(refused.value)
    assert "Connection refused" in text
    assert str(tmp_path / "data" / "cifar10" / "plain_text") in text
    assert str(tmp_path / "data" / PYTHON_LAYOUT) in text
    assert all(name in text for name in MD5)
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {".cifar10.lock"}  # nothing half-written
    assert socket.getdefaulttimeout() == patience


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be downloaded"):
        download_cifar10(tmp_path / "file" / "data")


WAIT = """
import sys
from pathlib import Path
from orchestrator.data.cifar10 import download_cifar10
print("go", flush=True)
download_cifar10(Path(sys.argv[1]))
"""


def test_who_waited_for_another_process_takes_what_it_downloaded(tmp_path, offline):
    """A second process asks while this one holds the lock and puts the folder in place: it must not download."""
    with filelock.FileLock(tmp_path / ".cifar10.lock"):
        other = subprocess.Popen([sys.executable, "-c", WAIT, str(tmp_path)], stdout=subprocess.PIPE)
        try:
            assert other.stdout.readline() == b"go\n"
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(1.0)  # it waits for the lock
            (tmp_path / PYTHON_LAYOUT).mkdir()
        except BaseException:
            other.kill()
            raise
    assert other.wait(PATIENCE) == 0
    other.stdout.close()
    assert not list((tmp_path / PYTHON_LAYOUT).iterdir())
