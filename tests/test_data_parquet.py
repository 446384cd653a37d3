"""Parquet files: every pixel and label in order, and everything that is refused, by file and row."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging import attempt, encode, expected, pixels, read

from orchestrator.data.cifar10 import CLASSES
from orchestrator.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(
    path: Path, images: list, labels: list | pa.Array, names: object = None, column: str = "img", struct: bool = True
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": content, "path": None} for content in images] if struct else images
    table = pa.table({column: pa.array(cells, IMAGE if struct else pa.binary()), "label": labels})
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    folder = tmp_path / "parquet"
    write_parquet(folder / "train-00000-of-00002.parquet", [encode(pixels(i)) for i in (0, 1)], [0, 1], ["cat", "dog"])
    write_parquet(folder / "train-00001-of-00002.parquet", [encode(pixels(2))], [1], ["cat", "dog"])
    write_parquet(folder / "test-00000-of-00001.parquet", [encode(pixels(3))], [0], ["cat", "dog"])
    return folder


# --- what each source gives


@pytest.mark.parametrize(("column", "struct"), [("img", True), ("image", True), ("img", False), ("image", False)])
def test_parquet_gives_every_pixel_in_order(tmp_path, column, struct):
    images = [encode(pixels(i)) for i in range(6)]
    write_parquet(tmp_path / "data" / "train-0.parquet", images[:4], [1, 0, 2, 1], None, column, struct)
    write_parquet(tmp_path / "data" / "test-0.parquet", images[4:], [2, 0], None, column, struct)
    dataset = read(tmp_path)  # the files lie one level down
    assert torch.equal(dataset.train.images, expected(range(4)))
    assert torch.equal(dataset.test.images, expected(range(4, 6)))
    assert dataset.train.labels.tolist() == [1, 0, 2, 1]
    assert dataset.test.labels.tolist() == [2, 0]
    assert dataset.classes == ("0", "1", "2")
    assert dataset.train.images.is_contiguous()


def test_parquet_shards_are_joined_and_classes_named_by_their_metadata(parquet):
    dataset = read(parquet)
    assert torch.equal(dataset.train.images, expected(range(3)))
    assert dataset.train.labels.tolist() == [0, 1, 1]
    assert dataset.classes == ("cat", "dog")


def test_cifar10_in_parquet_has_its_own_class_names(tmp_path):
    for split in ("train", "test"):
        write_parquet(
            tmp_path / "cifar10" / f"{split}-0.parquet", [encode(pixels(i)) for i in range(10)], list(range(10))
        )
    dataset = read("cifar10", tmp_path)
    assert dataset.name == "cifar10"
    assert dataset.classes == CLASSES


def test_cifar10_with_other_classes_is_refused(tmp_path, parquet):
    parquet.rename(tmp_path / "cifar10")
    with pytest.raises(DataError, match="CIFAR-10 has 10 classes"):
        read("cifar10", tmp_path)


# --- what is refused


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, -1], "row 1: the label -1 is negative"),
        ([0, 2], "row 1: the label 2 is too big, there are 2 classes"),
        ([None, 1], "row 0: the label is missing"),
        ([0.0, 1.0], "must hold whole numbers, text or bool, not double"),
        (pa.array([0, 2**64 - 1], pa.uint64()), "row 1: the label 18446744073709551615 is too big"),
    ],
)
@pytest.mark.parametrize("split", ["train-00000-of-00002", "test-00000-of-00001"])
def test_mislabelled_rows_are_refused(parquet, split, labels, message):
    path = parquet / f"{split}.parquet"
    write_parquet(path, [encode(pixels(0)), encode(pixels(1))], labels, ["cat", "dog"])
    with pytest.raises(DataError, match=message) as refused:
        read(parquet)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (
            [5, 0, 2**40, 0],
            ("0", "5", str(2**40)),
            "the labels are numbers with gaps: 3 classes in the order 0, 5 and 1099511",
        ),
        (["b", "a", "c", "a"], ("a", "b", "c"), "the labels are not numbers: 3 classes in the order 'a', 'b' and 'c'"),
        ([True, False, True, False], ("False", "True"), "the labels are not numbers: 2 classes in the order False and"),
        (pa.array(["b", "a", "c", "a"]).dictionary_encode(), ("a", "b", "c"), "the labels are not numbers: 3 classes"),
    ],
)
def test_labels_of_any_kind_are_classes_in_their_order_and_this_is_said(tmp_path, labels, classes, said):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", [encode(pixels(i)) for i in range(4)], labels)
    dataset = read(tmp_path)
    plain = labels.to_pylist() if isinstance(labels, pa.Array) else labels
    assert dataset.classes == classes
    assert [classes[label] for label in dataset.test.labels.tolist()] == list(map(str, plain))
    assert [said in note for note in dataset.notes] == [True]


def test_a_label_that_training_rows_lack_and_labels_of_two_kinds_are_refused(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [encode(pixels(i)) for i in range(2)], ["a", "b"])
    write_parquet(tmp_path / "test-0.parquet", [encode(pixels(i)) for i in range(2)], ["a", "x"])
    with pytest.raises(DataError, match=r"test-0.parquet, row 1: the label 'x' is not one of the classes 'a' and 'b'"):
        read(tmp_path)
    write_parquet(tmp_path / "test-0.parquet", [encode(pixels(0))], [0])
    with pytest.raises(DataError, match=r"test-0.parquet: its labels are whole numbers, those of .* are text"):
        read(tmp_path)


def test_text_labels_are_matched_with_the_names_in_the_metadata(tmp_path):
    for split in ("train", "test"):
        images = [encode(pixels(i)) for i in range(2)]
        write_parquet(tmp_path / f"{split}-0.parquet", images, ["cat", "dog"], ["dog", "cat"])
    dataset = read(tmp_path)
    assert dataset.classes == ("dog", "cat")
    assert dataset.train.labels.tolist() == [1, 0]


def test_a_class_without_training_rows_is_said_and_one_class_is_refused(tmp_path):
    images = [encode(pixels(i)) for i in range(2)]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", images, [0, 2], ["cat", "dog", "eel"])
    assert read(tmp_path).notes == ("classes without a training image: dog",)
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", images, [1, 1], ["cat", "dog", "eel"])
    with pytest.raises(DataError, match="all training images are of one class"):
        read(tmp_path)


@pytest.mark.parametrize("names", ["cat", ["cat", 1], [["cat"]], ["cat", "cat"], ["cat", "wolf"]])
def test_class_names_that_are_none_or_differ_are_refused(parquet, names):
    write_parquet(parquet / "test-00000-of-00001.parquet", [encode(pixels(3))], [0], names)
    with pytest.raises(DataError, match="test-00000-of-00001"):
        read(parquet)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the image is missing"),
        (b"", "damaged or not"),
        (b"not an image", "damaged or not"),
        (encode(pixels(0))[:-1], "cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "damaged or not"),
    ],
)
def test_a_row_that_holds_no_image_is_refused(parquet, content, message):
    path = parquet / "test-00000-of-00001.parquet"
    write_parquet(path, [encode(pixels(0)), content], [0, 1], ["cat", "dog"])
    with pytest.raises(DataError, match=message) as refused:
        read(parquet)
    assert str(refused.value).startswith(f"{path}, row 1")


def test_a_missing_struct_is_a_missing_image(tmp_path):
    for split in ("train", "test"):
        table = pa.table({"img": pa.array([{"bytes": encode(pixels(0)), "path": None}, None], IMAGE), "label": [0, 0]})
        pq.write_table(table, tmp_path / f"{split}-0.parquet")
    with pytest.raises(DataError, match="row 1: the image is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"label": [0]}),
        pa.table({"img": pa.array([b""])}),
        pa.table({"img": ["text"], "label": [0]}),
        pa.table({"img": [{"path": "a.png"}], "label": [0]}),
        pa.table({"img": [{"bytes": "text"}], "label": [0]}),
        pa.table({"img": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}),
        pa.table({}),
    ],
)
def test_a_table_of_another_kind_is_refused(parquet, table):
    pq.write_table(table, parquet / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match="test-00000-of-00001"):
        read(parquet)


def test_shards_with_a_hash_in_their_names_are_counted_too(parquet):
    hashed = [f"train-0000{i}-of-00002-{end}.parquet" for i, end in enumerate(("a09b74b3ef9c3b56", "0b1c2d3e4f506172"))]
    for i, name in enumerate(hashed):
        (parquet / f"train-0000{i}-of-00002.parquet").rename(parquet / name)
    assert torch.equal(read(parquet).train.images, expected(range(3)))
    again = parquet / "train-00001-of-00002-ffffffffffffffff.parquet"
    again.write_bytes((parquet / hashed[1]).read_bytes())
    with pytest.raises(DataError, match=f"not all there, or not of one set: .*{again.name}"):
        read(parquet)
    again.unlink()
    (parquet / hashed[0]).unlink()
    with pytest.raises(DataError, match=f"not all there, or not of one set: {hashed[1]}"):
        read(parquet)


def test_missing_parquet_files_are_refused(parquet):
    (parquet / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="not all there"):
        read(parquet)
    (parquet / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(
        DataError, match=r"neither test-\*\.parquet nor val-\*\.parquet \(there are: train\).*dataset\.splits\.test"
    ):
        read(parquet)


def test_two_parquet_data_sets_in_one_folder_are_refused(parquet, tmp_path):
    (tmp_path / "both").mkdir()
    parquet.rename(tmp_path / "both" / "one")
    write_parquet(tmp_path / "both" / "two" / "train-0.parquet", [encode(pixels(0))], [0])
    with pytest.raises(DataError, match=r"several datasets, give one of .*one, .*two"):
        read(tmp_path / "both")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, os.urandom(500)])
def test_a_file_that_is_no_parquet_is_refused(parquet, content):
    (parquet / "train-00001-of-00002.parquet").write_bytes(content)
    with pytest.raises(DataError, match="train-00001-of-00002"):
        read(parquet)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_parquet_is_a_data_set_or_refused(small_parquet, data):
    folder, whole = small_parquet
    content = bytearray(whole)
    if data.draw(st.booleans(), label="truncate"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "train-0.parquet").write_bytes(content)
    result = attempt(lambda: read(folder))
    if isinstance(result, DataError):
        assert str(folder) in str(result)
        assert " at 0x" not in str(result)
    else:
        assert result.train.images.dtype == torch.uint8
        assert len(result.train.images) == len(result.train.labels)


@pytest.fixture(scope="module")
def small_parquet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for split, count in (("train", 4), ("test", 2)):
        images = [encode(pixels(i)) for i in range(count)]
        write_parquet(folder / f"{split}-0.parquet", images, [i % 2 for i in range(count)], ["cat", "dog"])
    return folder, (folder / "train-0.parquet").read_bytes()
