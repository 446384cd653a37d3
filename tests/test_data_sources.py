"""Which source a name or a path leads to, and the digits that are always there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from imaging import read

from orchestrator.data import Dataset, Split, save_packed
from orchestrator.errors import DataError


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    dataset = read("digits")
    assert (len(dataset.train), len(dataset.test), dataset.shape) == (1437, 360, (3, 32, 32))
    assert dataset.classes == tuple("0123456789")
    assert set(dataset.test.labels.bincount().tolist()) <= {34, 35, 36, 37}
    assert torch.equal(dataset.train.images[:, 0], dataset.train.images[:, 2])
    assert (
        dataset.digest == "af404a0ee13da465bc53283722c4803fae7eef0a2cae537cdd9dfd58d68a8164"
    )  # the split and the pixels are the same everywhere, for ever

    original = load_digits()
    grey = torch.from_numpy(np.rint(original.images * 255 / 16).astype(np.uint8))
    eight = read("digits", image_size=8)
    everything = torch.cat([eight.train.images[:, 1], eight.test.images[:, 1]]).flatten(1)
    labels = torch.cat([eight.train.labels, eight.test.labels])
    rows = sorted([*row, label] for row, label in zip(everything.tolist(), labels.tolist(), strict=True))
    assert rows == sorted(
        [*row, label] for row, label in zip(grey.flatten(1).tolist(), original.target.tolist(), strict=True)
    )


def save(path: Path, value: int) -> str:
    """A packed dataset of one colour; its digest."""
    split = Split(torch.full((2, 3, 4, 4), value, dtype=torch.uint8), torch.tensor([0, 1]))
    dataset = Dataset("one colour", split, split, ("a", "b"))
    save_packed(dataset, path)
    return dataset.digest


def test_a_path_is_sought_where_one_stands_and_then_in_the_data_folder(tmp_path, monkeypatch):
    here, data = tmp_path / "here", tmp_path / "data"
    digests = save(here / "both.pt", 1), save(data / "both.pt", 2), save(data / "inner" / "only.pt", 3)
    monkeypatch.chdir(here)
    assert read("both.pt", data).digest == digests[0]
    assert read(data / "both.pt", data).digest == digests[1]
    assert read("inner/only.pt", data).digest == digests[2]
    assert read("inner/only.pt", data).name == "inner/only.pt"


@pytest.mark.parametrize("name", ["none", "", "digit", "none/digits"])
def test_a_name_that_leads_nowhere_is_refused_with_what_is_allowed(name, tmp_path):
    with pytest.raises(DataError, match=f"no dataset '{name}'.*allowed: digits, cifar10"):
        read(name, tmp_path)


def test_a_known_name_comes_before_a_folder_so_called(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(read("digits").test) == 360
    with pytest.raises(DataError, match="digits: holds neither"):
        read("./digits")
