"""A dataset in memory: what it refuses to be, and a digest of its content and of nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data import Dataset, Split
from orchestrator.errors import DataError


def make(images: torch.Tensor, labels: torch.Tensor, classes: tuple[str, ...] = ("a", "b"), name: str = "n") -> Dataset:
    return Dataset(name, Split(images, labels), Split(images[:2], labels[:2]), classes)


def test_the_digest_is_of_the_content_and_of_nothing_else():
    images = torch.arange(4 * 3 * 4 * 2, dtype=torch.uint8).view(4, 3, 4, 2)
    labels = torch.tensor([0, 1, 0, 1])
    base = make(images, labels).digest
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert make(strided.clone(memory_format=torch.preserve_format), labels.clone(), name="other").digest == base
    assert make(images, labels, ("a", "c")).digest != base
    assert make(images.view(4, 3, 2, 4), labels).digest != base
    assert make(images.flip(0), labels).digest != base


@given(st.integers(0, 4 * 3 * 4 * 2 - 1), st.integers(0, 7), st.integers(0, 3))
def test_any_changed_bit_or_label_changes_the_digest(byte, bit, row):
    images = torch.arange(4 * 3 * 4 * 2, dtype=torch.uint8).view(4, 3, 4, 2)
    labels = torch.tensor([0, 1, 0, 1])
    base = make(images, labels).digest
    changed = images.clone()
    changed.view(-1)[byte] ^= 1 << bit
    relabelled = labels.clone()
    relabelled[row] = 1 - relabelled[row]
    assert len({base, make(changed, labels).digest, make(images, relabelled).digest}) == 3


IMAGES = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        Split(IMAGES.float(), LABELS),
        Split(IMAGES[:, :2], LABELS),
        Split(IMAGES[0], LABELS),
        Split(IMAGES, LABELS.int()),
        Split(IMAGES, LABELS[:1]),
        Split(IMAGES[:0], LABELS[:0]),
        Split(IMAGES, LABELS - 1),
        Split(IMAGES, LABELS + 1),
    ],
)
def test_a_split_that_is_not_what_its_types_promise_is_refused(wrong):
    good = Split(IMAGES, LABELS)
    with pytest.raises(DataError, match="some name, training split"):
        Dataset("some name", wrong, good, ("a", "b"))
    with pytest.raises(DataError, match="some name, test split"):
        Dataset("some name", good, wrong, ("a", "b"))


def test_splits_of_two_sizes_and_classes_of_one_name_are_refused():
    good = Split(IMAGES, LABELS)
    with pytest.raises(DataError, match="test split: its images are not of the training images' channels and size"):
        Dataset("n", good, Split(IMAGES[..., :3], LABELS), ("a", "b"))
    with pytest.raises(DataError, match="test split: its images are not of the training images' channels and size"):
        Dataset("n", good, Split(IMAGES[:, :1], LABELS), ("a", "b"))
    with pytest.raises(DataError, match="two classes have one name"):
        Dataset("n", good, good, ("a", "a"))


def test_one_class_is_no_dataset():
    only = Split(IMAGES, LABELS * 0)
    with pytest.raises(DataError, match=r"there is nothing to tell apart.*: a$"):
        Dataset("n", only, only, ("a",))
