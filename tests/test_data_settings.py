"""Settings of a dataset: columns and splits of parquet files, what is refused, identity, and the command line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from imaging import encoded, read

from orchestrator.cli.main import main
from orchestrator.data import load_dataset
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec, SplitNames, TrialSpec


def write_cifar100(folder: Path, name: str = "{}-00000-of-00001.parquet", metadata: bool = True) -> Path:
    """Like uoft-cs/cifar100 at Hugging Face."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, count in (("train", 6), ("test", 4)):
        path = folder / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        images = pa.array([{"bytes": encoded(i), "path": None} for i in range(count)], kind)
        fine, coarse = pa.array([i % 3 for i in range(count)]), pa.array([i % 2 for i in range(count)])
        table = pa.table({"img": images, "fine_label": fine, "coarse_label": coarse})
        names = {"fine_label": ["apple", "bear", "crab"], "coarse_label": ["plant", "animal"]}
        features = {key: {"names": value, "_type": "ClassLabel"} for key, value in names.items()}
        if metadata:
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, path)
    return folder


def test_columns_are_chosen_or_listed(tmp_path):
    write_cifar100(tmp_path / "cifar100")
    with pytest.raises(
        DataError,
        match=r"train-00000-of-00001\.parquet: has no column label for the labels, but img, fine_label, coarse_label; "
        r"set dataset\.label_column to one of: fine_label, coarse_label$",
    ):
        read(tmp_path)
    assert read(tmp_path, label_column="fine_label").classes == ("apple", "bear", "crab")
    coarse = read(tmp_path, label_column="coarse_label", image_column="img")
    assert coarse.classes == ("plant", "animal")
    assert coarse.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(
        DataError, match=r"has no column picture for the images, .*dataset\.image_column to one of: img$"
    ):
        read(tmp_path, label_column="fine_label", image_column="picture")
    with pytest.raises(DataError, match=r"column fine_label must hold encoded images as bytes, not int64"):
        read(tmp_path, label_column="fine_label", image_column="fine_label")


@pytest.mark.parametrize(
    "name", ["{}.parquet", "data/{}-00000-of-00001.parquet", "{}-0.parquet", "{}/0000.parquet", "default/{}/0.parquet"]
)
def test_parquet_files_are_found_by_their_usual_names(tmp_path, name):
    expected = read(write_cifar100(tmp_path / "usual"), label_column="fine_label").digest
    write_cifar100(tmp_path / "other", name)
    (tmp_path / "other" / "README.md").write_text("about")
    assert read(tmp_path / "other", label_column="fine_label").digest == expected


def test_parquet_splits_of_other_names_can_be_chosen(tmp_path):
    write_cifar100(tmp_path, metadata=False)
    (tmp_path / "test-00000-of-00001.parquet").rename(tmp_path / "valid_unseen-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"nor val-\*\.parquet \(there are: train, valid_unseen\)"):
        read(tmp_path, label_column="coarse_label")
    dataset = read(tmp_path, label_column="coarse_label", splits=SplitNames(test="valid_unseen"))
    assert len(dataset.test) == 4
    with pytest.raises(DataError, match=r"name the folder that holds it"):
        read(tmp_path / "train-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "x"}, r"dataset\.label_column: 'digits' is a dataset by name, and columns are of parquet"),
        ({"splits": SplitNames(train="x")}, r"dataset\.splits: 'digits' is a dataset by name"),
    ],
)
def test_a_setting_that_the_dataset_has_no_use_for_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        load_dataset(DatasetSpec(**settings), Path("nowhere"))


def test_the_identity_of_a_trial_knows_new_settings_only_where_they_are_used():
    plain = TrialSpec(variant="stride").identity()
    assert plain == "d675985ee9a0e78e95946837fb0d30c14f279b1154ad714360a60edc3543cc17"  # as before there were any
    used = [DatasetSpec(channels=1), DatasetSpec(test=0.3), DatasetSpec(splits=SplitNames(test="x"))]
    used += [DatasetSpec(label_column="x"), DatasetSpec(image_column="x")]
    assert len({plain, *(TrialSpec(variant="stride", dataset=dataset).identity() for dataset in used)}) == 6


def test_the_settings_can_be_given_to_train(tmp_path, capsys):
    write_cifar100(tmp_path / "cifar100")
    settings = ["splits.test=test", "image_size=32", "validation=0.4"]
    for label, code in (("fine_label", 0), ("nothing", 2)):
        asked = ["train", "stride", "--dataset", str(tmp_path / "cifar100"), "--out", str(tmp_path / label)]
        asked += ["--epochs", "1", "--no-report", "--quiet", "--threads", "1"]
        for setting in (f"label_column={label}", *settings):
            asked += ["--set", f"dataset.{setting}"]
        with pytest.raises(SystemExit) as ended:
            main(asked)
        assert ended.value.code == code
    assert "to one of: fine_label, coarse_label" in capsys.readouterr().err
