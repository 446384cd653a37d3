"""The validation split: stratified, exact in number, and a function of (labels, fraction, seed) only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data import train_validation_indices
from orchestrator.errors import DataError

SEEDS = st.integers(0, 2**31 - 1)


@st.composite
def splits(draw: st.DrawFn) -> tuple[torch.Tensor, float]:
    """Labels, and a fraction of them of which every class can keep an image in the other part."""
    labels = draw(st.lists(st.integers(0, 6), min_size=1, max_size=119))
    labels.append(labels[0])
    count = draw(st.integers(1, len(labels) - len(set(labels))))
    return torch.tensor(labels), (count + draw(st.floats(-0.49, 0.49))) / len(labels)


@given(splits(), SEEDS)
def test_the_two_parts_are_disjoint_complete_sorted_and_of_the_exact_size(split, seed):
    labels, fraction = split
    training, validation = train_validation_indices(labels, fraction, seed)
    assert training.dtype == validation.dtype == torch.int64
    assert torch.equal(torch.cat([training, validation]).sort().values, torch.arange(len(labels)))
    assert torch.equal(training, training.sort().values)
    assert torch.equal(validation, validation.sort().values)
    assert len(validation) == round(fraction * len(labels))


@given(splits(), SEEDS)
def test_every_class_has_its_proportion(split, seed):
    labels, fraction = split
    training, validation = train_validation_indices(labels, fraction, seed)
    classes = labels.unique().tolist()
    sizes = {c: int((labels == c).sum()) for c in classes}
    held_out = {c: int((labels[validation] == c).sum()) for c in classes}
    assert all((labels[training] == c).any() for c in classes)
    pairs = [c for c in classes if sizes[c] >= 2]
    if len(validation) >= len(pairs):
        assert all(held_out[c] >= 1 for c in pairs)
    exact = {c: sizes[c] * len(validation) / len(labels) for c in classes}
    if all(int(exact[c]) >= 1 and exact[c] <= sizes[c] - 1 for c in classes):  # no limit interferes: largest remainders
        assert all(held_out[c] - int(exact[c]) in (0, 1) for c in classes)
        up = [exact[c] % 1 for c in classes if held_out[c] > int(exact[c])]
        down = [exact[c] % 1 for c in classes if held_out[c] == int(exact[c])]
        assert not up or not down or min(up) >= max(down) - 1e-9


@given(splits(), SEEDS, SEEDS)
def test_only_the_arguments_matter_and_the_global_state_is_left_alone(split, seed, other):
    labels, fraction = split
    torch.manual_seed(other)
    before = torch.get_rng_state()
    first = train_validation_indices(labels, fraction, seed)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = train_validation_indices(labels.clone(), fraction, seed)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("sizes", "fraction", "shares"),
    [
        ([50, 33, 17], 0.1, [5, 3, 2]),  # 5, 3.3, 1.7: the larger remainder goes up
        ([17, 33, 50], 0.1, [2, 3, 5]),
        ([60, 25, 15], 0.1, [6, 3, 1]),  # 6, 2.5, 1.5: the first of two equal remainders
        ([96, 2, 2], 0.04, [2, 1, 1]),  # the small classes give one, at the large one's cost
        ([96, 2, 2], 0.02, [2, 0, 0]),  # too few to go round: in proportion
        ([8, 1, 1], 0.7, [7, 0, 0]),  # every class keeps one to learn from
        ([4, 4], 0.75, [3, 3]),
    ],
)
def test_shares_worked_out_by_hand(sizes, fraction, shares):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    held_out = train_validation_indices(labels, fraction, 0)[1]
    assert labels[held_out].bincount(minlength=len(sizes)).tolist() == shares


def test_another_seed_holds_out_other_images():
    labels = torch.arange(10).repeat(100)
    held_out = [train_validation_indices(labels, 0.1, seed)[1] for seed in (0, 1)]
    assert not torch.equal(*held_out)
    assert all(labels[indices].bincount().tolist() == [10] * 10 for indices in held_out)


def test_a_class_is_shuffled_rather_than_cut_at_its_end():
    held_out = train_validation_indices(torch.zeros(1000, dtype=torch.int64), 0.1, 0)[1]
    assert 350 < held_out.float().mean() < 650  # uniform draws of 100: 500 with a standard error of 27


@pytest.mark.parametrize(("labels", "fraction"), [([0, 1] * 10, 0.01), ([0, 1] * 5, 0.95), ([0], 0.5), ([], 0.5)])
def test_a_fraction_that_leaves_nothing_on_one_side_is_refused(labels, fraction):
    with pytest.raises(DataError, match="validation fraction"):
        train_validation_indices(torch.tensor(labels, dtype=torch.int64), fraction, 0)
