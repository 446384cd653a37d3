"""Batches: every image once an epoch, the same wherever the images lie."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.data import Dataset, Split, build_augmentation, measure
from orchestrator.spec import Recipe
from orchestrator.training.batches import MOST, Batches, available, resident
from orchestrator.training.device import place

AUGMENTATION = ({"HorizontalFlip": {"p": 0.5}}, {"ShiftScaleRotate": {"p": 0.5}}, {"CoarseDropout": {"fill": "mean"}})


def batches(split: Split, shape: tuple[int, int, int], device: str, batch_size: int = 32, seed: int = 0) -> Batches:
    """Augmented batches of every second image."""
    recipe = Recipe(device=device, augmentation=AUGMENTATION)
    normalisation = measure(split.images)
    augmentation = build_augmentation(recipe.augmentation, seed=seed, mean=normalisation.mean, shape=shape)
    placement = place(recipe, torch.nn.Conv2d(3, 8, 3))
    indices = torch.arange(0, len(split), 2)
    return Batches(split, indices, batch_size, seed, augmentation, normalisation, placement)


def epoch(made: Batches, number: int) -> list[Tensor]:
    return [tensor.cpu() for batch in made.epoch(number) for tensor in batch]


@given(free=st.integers(0, 10**12), earlier=st.lists(st.integers(0, 10**9)), held=st.integers(0, 10**9))
def test_what_an_earlier_trial_has_left_to_the_process_is_free(free: int, earlier: list[int], held: int) -> None:
    """However many trials ran before, the next has as much room as the first; what is held is not there."""
    first, reserved = free, held
    for size in earlier:
        taken = max(size - (reserved - held), 0)  # a trial first gets what is reserved, and then from the device
        free, reserved = free - min(taken, free), reserved + min(taken, free)
    assert available(free, reserved, held) == first


@given(size=st.integers(1, 40), count=st.integers(2, 100), seed=st.integers(0, 3))
def test_every_image_once_and_each_epoch_in_an_order_of_its_own(size: int, count: int, seed: int) -> None:
    told_apart = Split(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.arange(count))
    made = batches(told_apart, (3, 8, 8), "cpu", size, seed)
    seen = [torch.cat([labels for _, labels in made.epoch(number)]) for number in (1, 2, 1)]
    assert len(list(made.epoch(1))) == len(made)
    for labels in seen:
        assert labels.sort().values.equal(made.indices)
    assert seen[0].equal(seen[2])
    if len(made.indices) > 20:
        assert not seen[0].equal(seen[1])


def test_images_too_large_for_a_gpu_stay_on_the_host(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Largest:
        """What memory would be asked of; a split that is moved says so."""

        nbytes = 1_000

        def to(self, device: torch.device) -> str:
            return f"on {device}"

    split = Split(Largest(), Largest())  # type: ignore[arg-type]
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(2_000 / MOST), 10_000))
    with caplog.at_level(logging.WARNING):
        assert resident(split, gpu).images == "on cuda"
        assert not caplog.records
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(2_000 / MOST) - 1, 10_000))
        assert resident(split, gpu) is split
        assert resident(split, torch.device("cpu")).images == "on cpu"  # no GPU is asked
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 501)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 500)
        assert resident(split, gpu).images == "on cuda", "the trial before has left it to this process"
    assert len(caplog.records) == 1


@pytest.mark.gpu
def test_batches_copied_from_the_host_are_those_of_the_device(dataset: Dataset) -> None:
    there = batches(resident(dataset.train, torch.device("cuda")), dataset.shape, "cuda")
    here = batches(dataset.train, dataset.shape, "cuda")
    assert all(a.equal(b) for a, b in zip(epoch(there, 3), epoch(here, 3), strict=True))
