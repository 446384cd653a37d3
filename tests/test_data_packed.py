"""A packed dataset: what was saved comes back, and nothing else does; and a machine with only torch can use it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE

from orchestrator.data import Dataset, Split, load_dataset, save_packed
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec


def small() -> Dataset:
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (9, 3, 5, 7), generator=stream, dtype=torch.uint8)
    labels = torch.arange(9) % 3
    return Dataset("small", Split(images[:6], labels[:6]), Split(images[6:], labels[6:]), ("a", "b", "ü"))


def read(path: Path, image_size: int | None = None) -> Dataset:
    return load_dataset(DatasetSpec(name=str(path), image_size=image_size), path.parent)


def test_what_was_saved_comes_back(tmp_path):
    saved = small()
    save_packed(saved, tmp_path / "new" / "small.pt")
    loaded = read(tmp_path / "new" / "small.pt")
    assert loaded.digest == saved.digest
    assert loaded.classes == saved.classes
    assert torch.equal(loaded.train.images, saved.train.images)
    assert torch.equal(loaded.test.labels, saved.test.labels)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["small.pt"]


def test_a_view_is_saved_without_the_storage_behind_it(tmp_path):
    whole = torch.zeros(10_000, 3, 8, 8, dtype=torch.uint8)
    split = Split(whole[:2], torch.tensor([0, 1]))
    save_packed(Dataset("view", split, split, ("a", "b")), tmp_path / "view.pt")
    assert (tmp_path / "view.pt").stat().st_size < 20_000


def test_images_are_resized_on_request(tmp_path):
    save_packed(small(), tmp_path / "small.pt")
    assert read(tmp_path / "small.pt", 12).shape == (3, 12, 12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "small.pt"
    save_packed(small(), path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_harmless(tmp_path_factory, whole, data):
    content = bytearray(whole)
    if data.draw(st.booleans(), label="truncate"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(content)
    try:
        result = read(path).digest
    except DataError as refused:
        result = str(refused)
    assert result == small().digest or (str(path) in result and not re.search(r" at 0x|\x1b|weights_only", result))


GOOD = {
    "train_images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
    "train_labels": torch.tensor([0, 1]),
    "test_images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
    "test_labels": torch.tensor([0, 1]),
    "classes": ["a", "b"],
    "sha256": "",
}


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "ab"},
        {"classes": ["a", 1]},
        {"classes": ["a", "a"]},
        {"extra": 1},
        {"train_images": [1, 2]},
        {"train_images": torch.zeros(2, 3, 4, 4)},
        {"train_images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8).to_sparse()},
        {"train_images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8, device="meta")},
        {"train_labels": torch.tensor([0, 2])},
        {"train_labels": torch.tensor([-1, 0])},
        {"test_images": torch.zeros(0, 3, 4, 4, dtype=torch.uint8), "test_labels": torch.zeros(0, dtype=torch.int64)},
        {},  # a digest that does not fit
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, change):
    path = tmp_path / "other.pt"
    torch.save({**GOOD, **change}, path)
    with pytest.raises(DataError) as refused:
        read(path)
    assert str(path) in str(refused.value)


def test_a_tensor_that_repeats_one_byte_is_refused_before_it_fills_the_memory(tmp_path):
    images, labels = torch.zeros(1, dtype=torch.uint8).expand(2**40, 3, 32, 32), torch.tensor([0]).expand(2**40)
    torch.save({**GOOD, "train_images": images, "train_labels": labels}, tmp_path / "bomb.pt")  # 3 petabytes
    with pytest.raises(DataError, match=r"bomb\.pt: train_images must be a plain, contiguous tensor"):
        read(tmp_path / "bomb.pt")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch.save({**GOOD, "classes": subprocess.Popen}, tmp_path / "hostile.pt")
    with pytest.raises(DataError, match=r"hostile\.pt: .*anything but tensors, lists and text is not loaded"):
        read(tmp_path / "hostile.pt")


ONLY_TORCH = """
import sys
for name in ("numpy", "PIL", "pyarrow", "sklearn", "yaml", "albumentations", "torchvision", "cv2", "scipy", "pydantic"):
    sys.modules[name] = None  # importing it raises ImportError
from pathlib import Path
from orchestrator.data import load_dataset, measure, train_validation_indices
from orchestrator.data.normalisation import apply
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec
path = Path(sys.argv[1])
dataset = load_dataset(DatasetSpec(name=str(path), image_size=8), path.parent)
apply(dataset.train.images, measure(dataset.train.images))
train_validation_indices(dataset.train.labels, 0.5, 0)
for name in ("digits", *(str(path.parent / other) for other in ("images", "parquet", "arrays.npz"))):
    try:
        load_dataset(DatasetSpec(name=name), path.parent)
    except DataError as refused:
        print(refused)
print(dataset.digest)
"""


def test_a_machine_with_only_torch_reads_it_and_says_what_the_rest_needs(tmp_path):
    save_packed(small(), tmp_path / "small.pt")
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            (tmp_path / "images" / split / label / "1.png").write_bytes(b"")
    (tmp_path / "arrays.npz").write_bytes(b"")
    (tmp_path / "parquet").mkdir()
    for split in ("train", "test"):
        (tmp_path / "parquet" / f"{split}-0.parquet").write_bytes(b"")
    command = [sys.executable, "-W", "ignore", "-c", ONLY_TORCH, str(tmp_path / "small.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    *refusals, digest = done.stdout.splitlines()
    assert digest == read(tmp_path / "small.pt", 8).digest
    needed = ("scikit-learn", "pillow", "pyarrow", "numpy")
    assert [name for name, text in zip(needed, refusals, strict=True) if name not in text] == []
