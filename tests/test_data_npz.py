"""Numpy's ``.npz`` files: every pixel and label by the usual names, and everything else refused with what to do."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data import Dataset, load_dataset
from orchestrator.data.dataset_files import files_fingerprint
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec, SplitNames

INSIDES = re.compile(r" at 0x|\x1b|<_io")


def drawn(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def read(path: Path, **options: object) -> Dataset:
    return load_dataset(DatasetSpec(name=str(path), **options), Path("nowhere"))  # type: ignore[arg-type]


def arrays(*shape: int) -> dict[str, np.ndarray]:
    """Keras' names: six training and four test images."""
    labels = np.arange(6) % 3
    return {"x_train": drawn(6, *shape), "y_train": labels, "x_test": drawn(4, *shape, seed=1), "y_test": labels[:4]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arrays.npz"


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (1, 9, 7), (3, 9, 7)])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_every_pixel_is_read_in_any_layout(file, shape, channels):
    given = arrays(*shape)
    np.savez(file, **given)
    dataset = read(file, channels=channels)
    pixels = torch.from_numpy(given["x_train"])
    pixels = pixels[:, None] if len(shape) == 2 else pixels if shape[0] in (1, 3) else pixels.permute(0, 3, 1, 2)
    assert dataset.shape == (channels or 3, 9, 7)
    if channels == 1 and pixels.shape[1] == 3:
        assert dataset.train.images.shape == (6, 1, 9, 7)
    else:
        assert torch.equal(dataset.train.images, pixels.expand(-1, channels or 3, -1, -1))
    assert dataset.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.classes == ("0", "1", "2")
    assert dataset.notes == ()


def test_medmnists_names_and_columns_of_labels(file):
    given = {f"{split}_images": drawn(4, 8, 8, seed=i) for i, split in enumerate(("train", "val", "test"))}
    given |= {f"{split}_labels": np.array([[0], [1], [0], [1]], dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(file, **given)
    dataset = read(file)
    assert dataset.validation is not None
    assert torch.equal(dataset.validation.images[:, 0], torch.from_numpy(given["val_images"]))
    assert torch.equal(dataset.test.images[:, 2], torch.from_numpy(given["test_images"]))
    assert dataset.notes == (f"{file}: val_images is the validation split",)
    assert read(file, splits=SplitNames(test="val", validation="test")).digest != dataset.digest
    assert read(file, image_size=16).shape == (3, 16, 16)
    del given["test_images"]
    np.savez(file, **given)
    assert read(file).notes[0].endswith("or test_images with test_labels, val_images is the test split")


def test_labels_that_are_text_or_have_gaps_are_said(file):
    np.savez(file, **(arrays(4, 4) | {"y_train": np.array([*"cabcab"]), "y_test": np.array([*"abca"])}))
    assert read(file).classes == ("a", "b", "c")
    assert read(file).train.labels.tolist() == [2, 0, 1, 2, 0, 1]
    np.savez(file, **(arrays(4, 4) | {"y_train": np.array([1, 2, 9, 1, 2, 9]), "y_test": np.array([9, 1, 2, 1])}))
    dataset = read(file)
    assert dataset.classes == ("1", "2", "9")
    assert dataset.notes == (f"{file}: the labels are numbers with gaps: 3 classes in the order 1, 2 and 9",)


def test_a_changed_file_has_another_fingerprint(file):
    np.savez(file, **arrays(4, 4))
    before = files_fingerprint(DatasetSpec(name=str(file)), file.parent)
    np.savez(file, **arrays(4, 5))
    assert files_fingerprint(DatasetSpec(name=str(file)), file.parent) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x_train": drawn(6, 4, 4) / 255},
            r"x_train: .* uint8, .*not float64, here from .*; save \(255 \* x\)\.round",
        ),
        ({"x_train": drawn(6, 4, 4).astype(int)}, r"x_train: .* not int64, .*; save x\.round\(\)\.astype\('uint8'\)"),
        ({"x_train": drawn(6, 4, 4) - 128.0}, r"x_train: .* not float64, here from -.*; scale them to 0 to 255"),
        ({"x_train": drawn(6, 4, 4) > 99}, r"x_train: .* not bool; save 255 \* x\.astype"),
        ({"x_train": drawn(6, 3, 4, 3)}, r"x_train: images must be .*it must be clear which; not \(6, 3, 4, 3\)"),
        ({"x_train": drawn(6, 16)}, r"x_train: images must be \(N, H, W\).*not \(6, 16\)"),
        ({"x_train": drawn(6, 4, 4, 4)}, r"x_train: images must be .* not \(6, 4, 4, 4\)"),
        ({"x_train": drawn(6, 0, 4)}, r"x_train: holds no images, its shape is \(6, 0, 4\)"),
        ({"x_train": drawn(5, 4, 4)}, r"5 images in x_train, but 6 labels in y_train"),
        ({"y_train": np.eye(3)[[0, 1, 2, 0, 1, 2]]}, r"y_train: labels must be .* \(6, 3\); if they are one-hot, save"),
        ({"y_train": np.arange(6) / 2}, r"y_train: labels must be whole numbers or text, not float64"),
        ({"y_train": np.array([0, 1, -1, 0, 1, 2])}, r"y_train, row 2: the label -1 is negative"),
        ({"y_train": np.zeros(6, dtype=int)}, r"y_test, row 1: the label 1 is not one of the classes 0"),
        ({"y_train": np.zeros(6, dtype=int), "y_test": np.zeros(4, dtype=int)}, r"nothing to tell apart"),
        ({"y_test": np.array([0, 1, 2, 7])}, r"y_test, row 3: the label 7 is not one of the classes 0, 1 and 2"),
        ({"y_test": np.array([*"abca"])}, r"y_test: its labels are text, those of .*y_train are whole numbers"),
        ({"y_train": np.array([0, 1, 2, 0, 1, {}], dtype=object)}, r"y_train: holds Python objects; save"),
        ({"x_test": None}, r"has x_train .*but neither x_test with y_test.* \(there are: x_train, y_train, y_test\)"),
        ({"x_train": None}, r"there is no x_train with y_train, or train_images with train_labels \(there are:"),
        ({"x_test": drawn(4, 5, 4)}, r"test split: its images are not of the training images' channels and size"),
    ],
)
def test_anything_else_is_refused_with_what_to_do(file, change, message):
    given = {name: array for name, array in (arrays(4, 4) | change).items() if array is not None}
    np.savez(file, **given)
    with pytest.raises(DataError, match=message) as refused:
        read(file)
    assert str(file) in str(refused.value)
    assert not INSIDES.search(str(refused.value))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00", b"text"])
def test_a_file_that_is_no_npz_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"arrays\.npz: ") as refused:
        read(file)
    assert not INSIDES.search(str(refused.value))


def test_a_single_array_and_an_archive_of_other_things_are_refused(file):
    with file.open("wb") as plain:
        np.save(plain, drawn(4, 8, 8))
    with pytest.raises(DataError, match=r"arrays\.npz: not an \.npz file"):
        read(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.txt", "text")
    with pytest.raises(DataError, match=r"there is no x_train with y_train.* \(there are: x_train\.txt\)"):
        read(file)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, str]:
    path = tmp_path_factory.mktemp("npz") / "small.npz"
    np.savez(path, **arrays(4, 4))
    return path, path.read_bytes(), read(path).digest


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_harmless(whole, data):
    path, content, digest = whole
    damaged = bytearray(content)
    if data.draw(st.booleans(), label="truncate"):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    else:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        result = read(path).digest
    except DataError as refused:
        result = str(refused)
    assert result == digest or (str(path) in result and not INSIDES.search(result))
