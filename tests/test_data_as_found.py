"""Folders of images as they lie about: what is passed over, what is split, and datasets in other people's layouts."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from imaging import encoded, read
from PIL import Image

from orchestrator.cli.main import main
from orchestrator.data.default_test_split import split_by_names
from orchestrator.data.image_files import recognised
from orchestrator.errors import DataError
from orchestrator.spec import SplitNames


def put(root: Path, *names: str) -> Path:
    """An image, another for each name, in every file of ``names``."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(sum(name.encode())))
    return root


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return put(
        tmp_path / "split", *(f"{s}/{c}/{i}.png" for s in ("train", "test") for c in ("cat", "dog") for i in "ab")
    )


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return put(tmp_path / "flowers", *(f"{c}/{i:03}.png" for c in ("daisy", "tulip") for i in range(10)))


# --- what lies beside the images


def test_files_of_operating_systems_are_as_if_they_were_not_there(split):
    before = read(split)
    for folder in (split, split / "train", split / "train" / "cat"):
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.png"):
            (folder / name).write_bytes(b"?")
        for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
            put(folder / name, "a.png", "cat/b.png")
    after = read(split)
    assert after.digest == before.digest
    assert after.notes == before.notes == ()


def test_files_that_are_no_images_are_passed_over_and_this_is_said(split):
    before = read(split).digest
    for name in ("train/labels.csv", "train/LICENSE", "train/cat/a.txt", "test/dog/notes", "test/dog/empty.xml"):
        (split / name).write_text("" if "empty" in name else "text")
    (split / "train" / "cat" / "nowhere.txt").symlink_to(split / "nothing")
    after = read(split)
    assert after.digest == before
    assert after.notes == (
        f"{split}: passed over, by their names no images: train/LICENSE, train/cat/a.txt, "
        "train/cat/nowhere.txt, train/labels.csv and 2 more",
    )


def test_a_class_of_other_files_alone_is_refused_naming_them(split):
    for path in (split / "train" / "cat").iterdir():
        path.unlink()
    (split / "train" / "cat" / "cat.npy").write_bytes(b"?")
    with pytest.raises(DataError, match=r"cat: holds no images, only cat\.npy"):
        read(split)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_an_image_by_another_name_is_recognised(kind):
    assert str(recognised(encoded(0, kind)[:32])).endswith(" image")


@given(st.text(min_size=1))
def test_text_is_not_taken_for_an_image(text):
    assert recognised(text.encode()[:32]) is None


def test_images_in_folders_within_a_class_are_read(split):
    before = read(split)
    inner = split / "train" / "cat" / "images" / "more"
    inner.mkdir(parents=True)
    for path in list((split / "train" / "cat").glob("*.png")):
        path.rename(inner / path.name)
    (split / "train" / "cat" / "empty").mkdir()
    assert read(split).digest == before.digest


# --- class folders without a split


def test_class_folders_without_a_split_are_split_by_their_names_alone(flowers, tmp_path):
    dataset = read(flowers)
    assert dataset.classes == ("daisy", "tulip")
    assert dataset.train.labels.bincount().tolist() == [8, 8]
    assert dataset.test.labels.bincount().tolist() == [2, 2]
    whole = {tuple(image.flatten().tolist()) for image in torch.cat([dataset.train.images, dataset.test.images])}
    assert len(whole) == 20
    assert dataset.notes == (
        f"{flowers}: has no splits; 0.2 of each class, 4 images chosen by their files' names, are the test split for "
        "every seed (dataset.test)",
    )
    shutil.copytree(flowers, tmp_path / "elsewhere" / "a copy")
    assert read(tmp_path / "elsewhere" / "a copy").digest == dataset.digest
    assert read(flowers, test=0.5).test.labels.bincount().tolist() == [5, 5]
    train, test = split_by_names({"daisy": sorted((flowers / "daisy").iterdir())}, 0.2, flowers)
    assert [path.name for path in test["daisy"]] == ["000.png", "001.png"]  # on every machine, for ever
    assert len(train["daisy"]) == 8


@given(st.integers(2, 60), st.floats(0.01, 0.99))
def test_a_split_by_names_is_whole_and_moves_little(count, fraction):
    files = {"a": [Path("/x/a") / f"{i}.png" for i in range(count)]}
    train, test = split_by_names(files, fraction, Path("/x"))
    assert sorted(train["a"] + test["a"]) == sorted(files["a"])
    assert len(test["a"]) == min(max(round(fraction * count), 1), count - 1)
    more = {"a": [*files["a"], Path("/x/a/one more.png")]}
    assert len(set(split_by_names(more, fraction, Path("/x"))[1]["a"]) ^ set(test["a"])) <= 2


def test_a_path_is_hashed_alike_with_accents_in_either_form():
    names = [[f"{i}{e}.png" for i in range(20)] for e in ("\u00e9", "e\u0301")]
    splits = [split_by_names({"a": [Path("/x/a") / name for name in form]}, 0.3, Path("/x"))[1]["a"] for form in names]
    assert [p.name[:-5].rstrip("e\u0301\u00e9") for p in splits[0]] == [
        p.name[:-6].rstrip("e\u0301") for p in splits[1]
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png", "a/2.png", "b/1.png"], r"b: holds 1 image; to make a test split, each class needs 2 or more"),
        (["a/1.png", "a/2.png"], r"there is nothing to tell apart, .* this one has: a$"),
        (["a/x/1.png", "a/y/2.png"], r"this one has: a; if its classes are x and y, name .*/a$"),
        (["a/1.png", "a/2.png", "3.png"], r"3\.png: an image beside the class folders"),
        (
            ["Train/a/1.png", "Test/a/1.png"],
            r"neither train-\*\.parquet nor train/, but Test/, Train/; name its splits",
        ),
        (["seg_train/a/1.png", "seg_test/a/1.png"], r"but seg_test/, seg_train/; name its splits: dataset\.splits"),
        *(
            ([f"{train}/a/1.png", f"{test}/a/1.png"], rf"but {min(train, test)}/, {max(train, test)}/; name its splits")
            for train, test in (
                ("trainset", "testset"),
                ("train2017", "val2017"),
                ("TrainData", "ValidData"),
                ("train1", "dev1"),
                ("training_set", "test-set2"),
                ("fold.trainset", "fold.testset"),
                ("trainimages", "testimages"),
            )
        ),
        (
            [f"{split}/{label}/1.png" for split in ("learn", "probe") for label in ("cat", "dog")],
            r"but learn/, probe/, which hold the same folders, cat/ and dog/; name its splits: .* if they are classes",
        ),
        (
            [f"{place}/1.png" for place in ("learn/a", "learn/b", "learn/c", "probe/a", "probe/b")],
            r"which hold the same folders, a/ and b/; name its splits",
        ),
        (["test/a/1.png", "test/b/1.png"], r"neither train-\*\.parquet nor train/, but test/; name its splits"),
        (["train/a/1.png", "train/b/1.png"], r"neither test/ nor val/ .*; or name .*/train as the dataset"),
        (["train/a/1.png", "test/a/1.png"], r"train: there is nothing to tell apart"),
    ],
)
def test_folders_that_are_no_dataset_are_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        read(put(tmp_path / "folder", *names))


def test_a_class_may_be_called_like_a_part_of_a_split(tmp_path):
    for number, classes in enumerate((("bullet_train", "bus"), ("testudo", "trainer", "valve"), ("test1", "test2"))):
        folder = put(tmp_path / str(number), *(f"{c}/{i}.png" for c in classes for i in range(2)))
        assert read(folder).classes == classes


@pytest.mark.parametrize("inner", [["images"], ["images", "images/more"], ["", "front", "back"]])
def test_classes_may_hold_the_same_folders_if_these_cannot_be_classes(tmp_path, inner):
    folder = put(tmp_path, *(f"{c}/{place}/{i}.png" for c in ("cat", "dog") for place in inner for i in range(2)))
    dataset = read(folder)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) + len(dataset.test) == 4 * len(inner)


def test_splits_of_such_names_can_be_chosen(tmp_path):
    places = [f"{split}/{label}/{i}.png" for split in ("trainset", "testset") for label in "ab" for i in range(2)]
    dataset = read(put(tmp_path, *places), splits=SplitNames(train="trainset", test="testset"))
    assert (len(dataset.train), len(dataset.test), dataset.classes) == (4, 4, ("a", "b"))


def test_splits_of_other_names_can_be_chosen(split):
    before = read(split)
    for old, new in (("train", "Training"), ("test", "Testing")):
        (split / old).rename(split / new)
    put(split, "Checking/cat/x.png", "Checking/dog/y.png")
    names = SplitNames(train="Training", test="Testing", validation="Checking")
    dataset = read(split, splits=names)
    assert torch.equal(dataset.train.images, before.train.images)
    assert torch.equal(dataset.test.images, before.test.images)
    assert dataset.validation is not None
    assert read(split, splits=SplitNames(train="Training", test="Testing")).validation is None
    for wrong, message in (
        (
            SplitNames(train="training"),
            r"dataset\.splits\.train: there is no training/ \(there are: Checking/, Testing/,",
        ),
        (SplitNames(train="Training", test="Training"), "Training/ cannot be two splits at once"),
        (SplitNames(train="Training"), r"neither test/ nor val/ .*set dataset\.splits\.test"),
    ):
        with pytest.raises(DataError, match=message):
            read(split, splits=wrong)


# --- Tiny ImageNet


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    classes = ("n01443537", "n01629819", "n02012849")
    for wnid in classes:
        put(root, *(f"train/{wnid}/images/{wnid}_{i}.JPEG" for i in range(3)))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    put(root, *(f"val/images/val_{i}.JPEG" for i in range(6)), *(f"test/images/test_{i}.JPEG" for i in range(2)))
    lines = [f"val_{i}.JPEG\t{classes[(i + 1) % 3]}\t0\t32\t44\t62\n" for i in range(6)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(reversed(classes)))
    words = ("goldfish, Carassius auratus", "crane", "crane")
    (root / "words.txt").write_text("".join(f"{c}\t{w}\n" for c, w in zip(classes, words, strict=True)))
    return root


def test_tiny_imagenet_is_read_as_it_is_published(tiny_imagenet):
    dataset = read(tiny_imagenet)
    assert dataset.classes == ("goldfish", "crane (n01629819)", "crane (n02012849)")
    assert dataset.train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.validation is None
    pixels = np.asarray(Image.open(tiny_imagenet / "val" / "images" / "val_2.JPEG"))  # of class 0, with val_5
    assert torch.equal(dataset.test.images[0].permute(1, 2, 0), torch.from_numpy(pixels.copy()))
    assert dataset.notes == (
        f"{tiny_imagenet}: without test/, val/ is the test split",
        f"{tiny_imagenet}: test/ has no labels and is not used",
        f"{tiny_imagenet}: the names of the classes are those in words.txt",
        f"{tiny_imagenet}: passed over, by their names no images: train/n01443537/n01443537_boxes.txt, "
        "train/n01629819/n01629819_boxes.txt and train/n02012849/n02012849_boxes.txt",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.replace("val_1.JPEG", "val_9.JPEG"), r"line 2: there is no image 'val_9\.JPEG' beside it"),
        (lambda s: s.replace("val_1.JPEG", "val_0.JPEG"), r"line 2: there is no image 'val_0\.JPEG' .*named twice"),
        (lambda s: s.replace("n01443537", "n00000000"), r"line 3: the class 'n00000000' has no training images"),
        (lambda s: s.partition("\n")[2], r"val_0\.JPEG: has no line in .*val_annotations\.txt"),
        (lambda s: s.replace("\t", " "), r"line 1: expected a file's name, a tab and its class"),
    ],
)
def test_annotations_that_do_not_fit_the_images_are_refused(tiny_imagenet, change, message):
    file = tiny_imagenet / "val" / "val_annotations.txt"
    file.write_text(change(file.read_text()))
    with pytest.raises(DataError, match=message):
        read(tiny_imagenet)


def test_a_test_split_without_labels_is_no_test_split(tiny_imagenet):
    shutil.rmtree(tiny_imagenet / "val")
    with pytest.raises(DataError, match=r"neither test/ nor val/ \(there are: test/ without labels, train/\)"):
        read(tiny_imagenet)
    assert read(tiny_imagenet / "train", test=0.3).test.labels.tolist() == [0, 1, 2]


# --- before training


def test_validate_says_everything_of_the_data_before_anything_is_spent(flowers, tmp_path, capsys):
    (flowers / "daisy" / "about.txt").write_text("text")
    (tmp_path / "e.yaml").write_text(f"name: e\nvariants: [stride]\ndataset: {{name: {flowers}, image_size: 32}}\n")
    for setting, code, said in (
        ("dataset.test=0.2", 0, "passed over, by their names no images: daisy/about.txt"),
        ("dataset.validation=0.01", 2, "dataset.validation: a validation fraction of 0.01 holds out 0 of 16 training"),
        (
            "dataset.validation=0.99",
            2,
            "holds out 16 of 16 training images; with 2 classes, .* it must be from 1 to 14",
        ),
        ("dataset.test=0.999", 2, "holds out 0 of 2 training images; with 2 classes, .*, there is none to spare"),
        ("dataset.label_column=x", 2, "is a folder of image files, and columns are of parquet files"),
        ("dataset.splits.train=x", 2, r"dataset\.splits\.train: there is no x/ \(there are: daisy/, tulip/\)"),
        ("dataset.chanels=1", 2, "channels"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["validate", str(tmp_path / "e.yaml"), "--set", setting, "--set", "trainer.batch_size=4"])
        shown = capsys.readouterr()
        assert ended.value.code == code, shown
        assert re.search(said, shown.out + shown.err), shown
