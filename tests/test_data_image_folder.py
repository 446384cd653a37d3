"""Image folders: every pixel, classes by name, one size; and everything that is refused, by the name of the file."""

import os
from pathlib import Path

import pytest
import torch
from imaging import encode, expected, pixels, read

from orchestrator import records as keys
from orchestrator.data import save_packed
from orchestrator.data.arrays import from_arrays, to_arrays
from orchestrator.data.images import resize
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec, Recipe, TrialSpec
from orchestrator.trial import TrialFolder, run_trial, training_indices


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    folder = tmp_path / "folders"
    for seed, file in enumerate(
        ["train/cat/b.png", "train/cat/c.png", "train/dog/a.png", "test/cat/x.png", "test/dog/y.png"]
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(encode(pixels(seed)))
    return folder


def test_image_folders_give_every_pixel_and_classes_by_name(folders):
    dataset = read(folders)
    assert torch.equal(dataset.train.images, expected(range(3)))
    assert torch.equal(dataset.test.images, expected(range(3, 5)))
    assert dataset.train.labels.tolist() == [0, 0, 1]
    assert dataset.test.labels.tolist() == [0, 1]
    assert dataset.classes == ("cat", "dog")


def test_image_folders_may_have_val_links_and_hidden_files(folders):
    before = read(folders).digest
    (folders / "test").rename(folders / "val")
    (folders / "train" / "dog").rename(folders / "elsewhere")
    (folders / "train" / "dog").symlink_to(folders / "elsewhere")
    (folders / "train" / ".DS_Store").write_bytes(b"?")
    (folders / "train" / "cat" / ".hidden").write_bytes(b"?")
    assert read(folders).digest == before


def test_differing_sizes_are_refused_with_the_file_and_both_sizes(folders):
    (folders / "test" / "dog" / "y.png").write_bytes(encode(pixels(0, height=5, width=9)))
    with pytest.raises(DataError, match=r"y\.png: this image is 9 × 5 pixels, but .*b\.png is 6 × 4.*image_size"):
        read(folders)


def test_image_size_makes_every_size_one(folders):
    (folders / "train" / "cat" / "c.png").write_bytes(encode(pixels(0, height=30, width=9)))
    dataset = read(folders, image_size=8)
    assert dataset.shape == (3, 8, 8)
    for position, image in enumerate([pixels(0), pixels(0, 30, 9), pixels(2)]):
        alone = resize(torch.from_numpy(image).permute(2, 0, 1)[None], 8)
        assert torch.equal(dataset.train.images[position], alone[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "train/cat/b.png").rename(f / "train/cat/b.dat"), r"b\.dat: holds a PNG image.*rename"),
        (lambda f: (f / "train/cat/b.png").rename(f / "train/cat/b"), r"b: holds a PNG image.*rename"),
        (lambda f: (f / "train/cat/b.HEIC").write_bytes(b"?"), r"b\.HEIC: .* \(\.heic\) are not read; convert"),
        (lambda f: (f / "train/x.png").write_bytes(b""), r"x\.png: an image beside the class folders"),
        (lambda f: (f / "train/cat/b.png").write_bytes(b""), r"b\.png: damaged or not"),
        (lambda f: (f / "train/cow").mkdir(), r"cow: holds no images"),
        (lambda f: (f / "test/cat").rename(f / "test/cow"), r"different classes: cat, cow"),
        (lambda f: (f / "train/cat/loop").symlink_to(f / "train"), r"loop/.*: a link to a folder that it lies in"),
        (lambda f: (f / "train/cat/link.png").symlink_to(f / "nowhere"), r"link\.png: not an image file"),
        (lambda f: os.mkfifo(f / "train/cat/pipe.png"), r"pipe\.png: not an image file"),
        (lambda f: (f / "test").rename(f / "evaluation"), r"neither test/ nor val/"),
        (lambda f: (f / "train").rename(f / "training"), r"holds neither train-\*\.parquet nor train/"),
    ],
)
def test_a_wrong_image_folder_is_refused(folders, change, message):
    change(folders)
    with pytest.raises(DataError, match=message):
        read(folders)


def test_a_file_that_is_no_packed_data_set_is_refused(folders):
    with pytest.raises(DataError, match=r"b\.png: not a dataset; allowed"):
        read(folders / "train" / "cat" / "b.png")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_a_validation_split_that_is_there_is_used_for_choosing(folders, name, tmp_path):
    without = read(folders)
    for seed, file in enumerate(["cat/v.png", "dog/w.png"], start=7):
        (folders / name / file).parent.mkdir(parents=True)
        (folders / name / file).write_bytes(encode(pixels(seed)))
    dataset = read(folders)
    assert torch.equal(dataset.validation.images, expected(range(7, 9)))
    assert torch.equal(dataset.test.images, without.test.images)
    assert dataset.digest != without.digest
    assert without.validation is None
    spec = TrialSpec(variant="stride", dataset=DatasetSpec(validation=0.5))
    assert training_indices(spec, dataset).tolist() == [0, 1, 2]  # nothing of the training split is held out
    save_packed(dataset, tmp_path / "packed.pt")
    for again in (read(tmp_path / "packed.pt"), from_arrays(to_arrays(dataset))):
        assert again.digest == dataset.digest
        assert torch.equal(again.validation.images, dataset.validation.images)
    assert read(tmp_path / "packed.pt", image_size=8).validation.images.shape == (2, 3, 8, 8)
    (folders / name / "dog").rename(folders / name / "cow")
    with pytest.raises(DataError, match=f"train/ and {name}/ have different classes: cow, dog"):
        read(folders)


def test_choices_are_made_by_it(folders, network_file, tmp_path):
    for split in ("val", "test"):
        for label in ("cat", "dog"):
            for position in range(4):
                file = folders / split / label / f"{position}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(encode(pixels(position + 10 * (label == "dog"), 16, 16)))
    for label in ("cat", "dog"):
        for position in range(8):
            (folders / "train" / label / f"{position}.png").write_bytes(encode(pixels(100 + position, 16, 16)))
    dataset = read(folders, image_size=16)
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=2, batch_size=4))
    records = list(run_trial(spec, dataset, tmp_path / "t"))
    eighths = [8 * record.metrics[keys.VAL_ACCURACY] for record in records if not record.final]
    assert eighths == [round(count) for count in eighths]  # of the eight images of val/
    assert TrialFolder(tmp_path / "t").predictions().shape == (len(dataset.test), 2)


def test_several_validation_splits_are_refused_and_what_is_passed_over_is_said(folders):
    (folders / "extra").mkdir()
    assert read(folders).notes == (f"{folders}: passed over: extra/",)
    for name in ("val", "valid"):
        (folders / name).mkdir()
    with pytest.raises(DataError, match="several validation splits, val, valid; leave one"):
        read(folders)


def test_a_validation_split_in_place_of_the_test_split_is_said(folders):
    (folders / "test").rename(folders / "valid")
    dataset = read(folders)
    assert dataset.validation is None
    assert dataset.notes == (f"{folders}: without test/, valid/ is the test split",)
