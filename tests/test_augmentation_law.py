"""Sampling: our parameters follow the law of Albumentations' parameters (fixed seeds; a fair test fails 1 in 1000)."""

import warnings
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from scipy import stats

from orchestrator.data.augment.build import build_augmentation
from orchestrator.data.augment.compiled import compile_transforms
from orchestrator.data.augment.operation import Operation
from orchestrator.data.random_numbers import uniform

N = 4000
ALPHA = 0.001


def ours(name: str, arguments: dict[str, Any], size: tuple[int, int] = (32, 32)) -> tuple[Operation, np.ndarray]:
    operations = compile_transforms([{name: {**arguments, "p": 1}}], size)
    numbers = uniform(11, 3, torch.arange(N), operations[0].draws)
    return operations[0], operations[0].sample(numbers).numpy()


def theirs(name: str, arguments: dict[str, Any], size: tuple[int, int] = (32, 32)) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ShiftScaleRotate calls itself a special case of Affine
        transform = getattr(A, name)(**arguments, p=1)
    transform.set_random_seed(2)
    return [transform.get_params_dependent_on_data({"shape": (*size, 3)}, {}) for _ in range(N)]


def same_law(first: np.ndarray, second: np.ndarray) -> None:
    """Two samples from one law: chi-square where there are few values, Kolmogorov and Smirnov where there are many."""
    values = np.unique(np.concatenate((first, second)))
    if len(values) > 100:
        assert stats.ks_2samp(first, second).pvalue > ALPHA
    elif len(values) > 1:
        counts = [[(sample == value).sum() for value in values] for sample in (first, second)]
        common = np.array(counts)[:, np.sum(counts, axis=0) >= 10]
        assert stats.chi2_contingency(common).pvalue > ALPHA
        assert common.sum() > 1.9 * N  # what is left out is rare


def uncorrelated(first: np.ndarray, second: np.ndarray) -> None:
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / N**0.5


WARPS = [
    ("ShiftScaleRotate", {"shift_limit": 0.0625, "scale_limit": 0.1, "rotate_limit": 45}),
    ("ShiftScaleRotate", {"shift_limit_x": [0, 0.2], "shift_limit_y": 0.1, "scale_limit": [-0.5, 1]}),
    ("Affine", {"translate_percent": [-0.1, 0.2], "scale": [0.5, 2], "rotate": [-20, 70]}),
    ("Affine", {"translate_px": {"x": [-3, 4], "y": [0, 1]}, "scale": {"x": [0.9, 1], "y": 2}, "shear": [-20, 5]}),
    ("Affine", {"translate_px": [-2.9, 2.9], "scale": [0.8, 1.2], "keep_ratio": True, "shear": {"x": [1, 9]}}),
]


@pytest.mark.parametrize(("name", "arguments"), WARPS)
def test_warps(name: str, arguments: dict[str, Any]) -> None:
    size = (32, 40)
    operation, parameters = ours(name, arguments, size)
    samples = theirs(name, arguments, size)
    forward = np.array([sample["matrix"] for sample in samples])
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    shift = np.round(forward[:, :2, 2] - centre + forward[:, :2, :2] @ centre, 6)
    for axis in (0, 1):
        same_law(parameters[:, axis], shift[:, axis])
        same_law(parameters[:, 2 + axis], np.array([sample["scale"]["xy"[axis]] for sample in samples], np.float32))
    same_law(parameters[:, 4], np.array([sample["rotate"] for sample in samples], np.float32))
    if arguments.get("keep_ratio"):
        assert (parameters[:, 2] == parameters[:, 3]).all()
    varied = [column for column in parameters.T if column.std() > 0]
    pairs = [(i, j) for i in range(len(varied)) for j in range(i) if not np.array_equal(varied[i], varied[j])]
    for i, j in pairs:
        uncorrelated(varied[i], varied[j])
    # The matrix as a whole: rotation, scale and shear together.
    from orchestrator.data.augment.warp import matrices

    moved = matrices(torch.from_numpy(parameters), size).numpy()
    for row in (0, 1):
        for column in (0, 1):
            if forward[:, row, column].std() > 1e-6:
                same_law(moved[:, row, column], forward[:, row, column].astype(np.float32))
    assert operation.draws == (7 if "shear" in arguments else 5)


def test_shift_is_truncated_to_whole_pixels() -> None:
    _, parameters = ours("ShiftScaleRotate", {"shift_limit": 0.0625})
    values, counts = np.unique(parameters[:, 0], return_counts=True)
    assert values.tolist() == [-1, 0, 1]
    np.testing.assert_allclose(counts / N, [0.25, 0.5, 0.25], atol=4 * 0.5 / N**0.5)


HOLES = [
    {"num_holes_range": [1, 1], "hole_height_range": [16, 16], "hole_width_range": [16, 16]},
    {"num_holes_range": [1, 1], "hole_height_range": [0, 9], "hole_width_range": [2, 60]},
    {"num_holes_range": [1, 1], "hole_height_range": [2.5, 4.5], "hole_width_range": [1, 3.9]},
    {"num_holes_range": [1, 4], "hole_height_range": [0.1, 0.5], "hole_width_range": [0, 0.99]},
    {"num_holes_range": [2, 3], "hole_height_range": [0.5, 1], "hole_width_range": [1, 2]},
]


@pytest.mark.parametrize("arguments", HOLES)
def test_holes(arguments: dict[str, Any]) -> None:
    size = (32, 24)
    _, parameters = ours("CoarseDropout", arguments, size)
    samples = [sample["holes"] for sample in theirs("CoarseDropout", arguments, size)]
    for corner, column in (("left", 1), ("top", 0)):  # of the first hole, which is always there
        first = np.array([holes[0][["left", "top"].index(corner)] for holes in samples])
        last = np.array([holes[0][["left", "top"].index(corner) + 2] for holes in samples])
        same_law(parameters[:, 0, column], first)
        same_law(parameters[:, 0, column + 2] - parameters[:, 0, column], last - first)
    area = (parameters[:, :, 2] - parameters[:, :, 0]) * (parameters[:, :, 3] - parameters[:, :, 1])
    holes_drawn = np.array([sum((r - x) * (b - y) > 0 for x, y, r, b in holes) for holes in samples])
    same_law((area > 0).sum(1), holes_drawn)
    assert parameters.min() >= 0
    assert parameters[:, :, 2].max() <= size[0]
    assert parameters[:, :, 3].max() <= size[1]


def test_crop_corners() -> None:
    arguments = {"height": 20, "width": 23}
    pad_back = {"PadIfNeeded": {"min_height": 32, "min_width": 24}}
    operation = compile_transforms([{"RandomCrop": arguments}, pad_back], (32, 24))[0]
    corners = operation.sample(uniform(1, 1, torch.arange(N), 2)).numpy()
    samples = np.array([sample["crop_coords"] for sample in theirs("RandomCrop", arguments, (32, 24))])
    same_law(corners[:, 0], samples[:, 1])
    same_law(corners[:, 1], samples[:, 0])
    assert sorted(set(corners[:, 0].tolist())) == list(range(13))


@pytest.mark.parametrize(("name", "count"), [("RandomRotate90", 4), ("D4", 8), ("SquareSymmetry", 8)])
def test_every_symmetry_is_equally_likely(name: str, count: int) -> None:
    _, codes = ours(name, {})
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == count
    assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize("engine", ["compiled", "albumentations"])
def test_transforms_are_applied_independently_of_one_another(engine: Any) -> None:
    """Every combination of two flips and a hole is equally likely: one seed for all transforms would couple them."""
    transforms = (
        {"HorizontalFlip": {"p": 0.5}},
        {"VerticalFlip": {"p": 0.5}},
        {"CoarseDropout": {"num_holes_range": [1, 1], "hole_height_range": [1, 1], "hole_width_range": [1, 1]}},
    )
    image = torch.arange(1, 1 + 3 * 64, dtype=torch.uint8).view(1, 3, 8, 8)
    augmentation = build_augmentation(transforms, seed=4, mean=(0.5,) * 3, shape=(3, 8, 8), engine=engine)
    result = augmentation(image.repeat(1600, 1, 1, 1), torch.arange(1600), 1)
    flips = [image, image.flip(3), image.flip(2), image.flip(2, 3)]
    hole = (result == 0).flatten(1).any(1)
    which = torch.stack([((result == flip) | (result == 0)).flatten(1).all(1) for flip in flips], 1).int().argmax(1)
    counts = torch.bincount(which * 2 + hole, minlength=8)
    assert stats.chisquare(counts.numpy()).pvalue > ALPHA


def test_probability() -> None:
    augmentation = build_augmentation(({"HorizontalFlip": {"p": 0.3}},), seed=0, mean=(0.5,) * 3, shape=(3, 8, 8))
    image = torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8)
    flipped = sum(
        int((augmentation(image.expand(1000, -1, -1, -1), torch.arange(1000), epoch) != image).flatten(1).any(1).sum())
        for epoch in range(1, 11)
    )
    assert stats.binomtest(flipped, 10_000, 0.3).pvalue > ALPHA
