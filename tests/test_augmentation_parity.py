"""Applying: with Albumentations' own parameters, our images are Albumentations' images."""

import warnings
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from albumentations.augmentations.geometric import functional as geometry
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.augment.arguments import REFLECT_101
from orchestrator.data.augment.build import build_augmentation
from orchestrator.data.augment.compiled import compile_transforms
from orchestrator.data.augment.symmetry import LEFT_RIGHT, SYMMETRIES, TRANSPOSE, UPSIDE_DOWN, Symmetry
from orchestrator.data.augment.warp import inverse, matrices, warp

SIZES = ((32, 32), (24, 40), (33, 17))


def random_images(n: int, size: tuple[int, int], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), dtype=np.uint8)


def as_batch(arrays: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(arrays)).permute(0, 3, 1, 2).contiguous()


def difference(batch: torch.Tensor, arrays: Any) -> int:
    theirs = np.stack(list(arrays)).astype(int)
    assert batch.dtype == torch.uint8
    assert tuple(batch.permute(0, 2, 3, 1).shape) == theirs.shape
    return int(np.abs(batch.permute(0, 2, 3, 1).numpy().astype(int) - theirs).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("border", [0, 1, 2, 4])
@pytest.mark.parametrize("fill", [0.0, (10.0, 200.0, 77.6)])
def test_warp_is_opencvs_within_one_grey_level(size: tuple[int, int], border: int, fill: Any) -> None:
    theirs = A.Affine(
        scale=(0.5, 1.6), translate_percent=(-0.4, 0.4), rotate=(-180, 180), shear=(-30, 30), border_mode=border,
        fill=fill, p=1,
    )  # fmt: skip
    theirs.set_random_seed(3)
    arrays, changed, moves = random_images(40, size), [], []
    for array in arrays:
        changed.append(theirs(image=array)["image"])
        moves.append(theirs.params["matrix"][:2])
    forward = torch.tensor(np.array(moves), dtype=torch.float32)
    ours = warp(
        as_batch(arrays),
        inverse(forward, size, border == REFLECT_101),
        border,
        fill if isinstance(fill, tuple) else (fill,) * 3,
    )
    assert difference(ours, changed) <= 1
    assert (ours != as_batch(np.stack(changed))).float().mean() < 0.001  # rounding is theirs too
    assert difference(as_batch(arrays), changed) > 100  # they did change


@given(
    st.tuples(*[st.integers(-20, 20)] * 2),
    st.tuples(*[st.floats(0.2, 3)] * 2),
    st.floats(-360, 360),
    st.tuples(*[st.floats(-60, 60)] * 2),
    st.sampled_from(SIZES),
)
def test_matrices_are_theirs(shift: Any, scale: Any, rotate: float, shear: Any, size: tuple[int, int]) -> None:
    names = ("x", "y")
    theirs = geometry.create_affine_transformation_matrix(
        *(dict(zip(names, pair, strict=True)) for pair in (shift, shear, scale)), rotate, geometry.center(size)
    )
    ours = matrices(torch.tensor([[*shift, *scale, rotate, *shear]]), size)[0]
    np.testing.assert_allclose(ours.numpy(), theirs[:2], atol=2e-3, rtol=1e-4)


def test_an_image_scaled_to_nothing_is_one_colour() -> None:
    [operation] = compile_transforms([{"Affine": {"scale": 0, "p": 1}}], (32, 32))
    batch = as_batch(random_images(2, (32, 32)))
    ours = operation.apply(batch, operation.prepare(operation.sample(torch.zeros(2, operation.draws))))
    assert (
        difference(ours, [A.Affine(scale=0.0, p=1)(image=image)["image"] for image in random_images(2, (32, 32))]) <= 1
    )


ELEMENTS = {
    "e": 0, "r90": TRANSPOSE | UPSIDE_DOWN, "r180": UPSIDE_DOWN | LEFT_RIGHT, "r270": TRANSPOSE | LEFT_RIGHT,
    "v": UPSIDE_DOWN, "h": LEFT_RIGHT, "t": TRANSPOSE, "hvt": TRANSPOSE | UPSIDE_DOWN | LEFT_RIGHT,
}  # fmt: skip


def test_the_eight_symmetries_are_theirs() -> None:
    arrays = random_images(8, (16, 16))
    ours = Symmetry(1.0, SYMMETRIES["D4"], (16, 16)).apply(as_batch(arrays), torch.tensor(list(ELEMENTS.values())))
    assert difference(ours, [geometry.d4(a, e) for a, e in zip(arrays, ELEMENTS, strict=True)]) == 0


def test_quarter_turns_are_theirs_in_their_order() -> None:
    arrays = random_images(4, (16, 16))
    codes = torch.tensor(SYMMETRIES["RandomRotate90"])
    ours = Symmetry(1.0, SYMMETRIES["RandomRotate90"], (16, 16)).apply(as_batch(arrays), codes)
    assert difference(ours, [geometry.rot90(a, k) for k, a in enumerate(arrays)]) == 0


@pytest.mark.parametrize("name", ["HorizontalFlip", "VerticalFlip", "Transpose"])
def test_flips_are_theirs(name: str) -> None:
    arrays = random_images(4, (16, 16))
    ours = build_augmentation([{name: {"p": 1}}], seed=0, mean=(0.5,) * 3, shape=(3, 16, 16), engine="compiled")
    changed = [getattr(A, name)(p=1)(image=array)["image"] for array in arrays]
    assert difference(ours(as_batch(arrays), torch.arange(4), 1), changed) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_holes_range": [1, 1], "hole_height_range": [8, 8], "hole_width_range": [16, 16], "fill": 7},
        {"num_holes_range": [1, 6], "hole_height_range": [0.1, 0.5], "hole_width_range": [0, 0.9]},
        {"num_holes_range": [3, 5], "hole_height_range": [0, 9], "hole_width_range": [2, 60], "fill": [1, 2.7, 255]},
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_holes_are_theirs(arguments: dict[str, Any], size: tuple[int, int]) -> None:
    theirs = A.CoarseDropout(**arguments, p=1)
    theirs.set_random_seed(5)
    arrays = random_images(30, size)
    changed, holes = [], torch.zeros(len(arrays), arguments["num_holes_range"][1], 4)
    for i, array in enumerate(arrays):
        changed.append(theirs(image=array)["image"])
        drawn = torch.from_numpy(theirs.params["holes"])
        holes[i, : len(drawn)] = drawn[:, [1, 0, 3, 2]].float()
    [operation] = compile_transforms([{"CoarseDropout": {**arguments, "p": 1}}], size)
    assert difference(operation.apply(as_batch(arrays), holes), changed) == 0


@pytest.mark.parametrize("border", range(5))
@pytest.mark.parametrize("position", ["center", "top_left", "top_right", "bottom_left", "bottom_right"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"min_height": 41, "min_width": 36},
        {"min_height": 130, "min_width": 10},
        {"min_height": None, "min_width": None, "pad_height_divisor": 7, "pad_width_divisor": 9},
    ],
)
def test_padding_is_theirs(border: int, position: str, arguments: dict[str, Any]) -> None:
    arguments = {**arguments, "position": position, "border_mode": border, "fill": [3, 250.6, 9], "p": 1}
    arrays = random_images(3, (32, 24))
    changed = [A.PadIfNeeded(**arguments)(image=array)["image"] for array in arrays]
    crop = {"RandomCrop": {"height": 32, "width": 24}}
    operations = compile_transforms([{"PadIfNeeded": arguments}, crop], (32, 24))
    assert difference(operations[0].apply(as_batch(arrays), torch.zeros(3, 0)), changed) == 0


def test_crops_are_theirs() -> None:
    theirs = A.RandomCrop(height=20, width=30)
    theirs.set_random_seed(1)
    arrays = random_images(40, (32, 33))
    changed, corners = [], []
    for array in arrays:
        changed.append(theirs(image=array)["image"])
        corners.append([theirs.params["crop_coords"][1], theirs.params["crop_coords"][0]])
    pad_back = {"PadIfNeeded": {"min_height": 32, "min_width": 33}}
    operations = compile_transforms([{"RandomCrop": {"height": 20, "width": 30}}, pad_back], (32, 33))
    assert difference(operations[0].apply(as_batch(arrays), torch.tensor(corners)), changed) == 0


@st.composite
def certain_pipelines(draw: st.DrawFn) -> list[dict[str, dict[str, Any]]]:
    """Pipelines that leave nothing to chance: every p is 0 or 1, every range has one value; one warp at most."""
    affine = {
        "scale": draw(st.floats(0.5, 2)),
        "rotate": draw(st.integers(-180, 180)),
        "translate_percent": {"x": draw(st.floats(-0.5, 0.5)), "y": draw(st.sampled_from([0.29, -0.25, 0]))},
        "shear": draw(st.sampled_from([0, 10, {"x": 20}, {"x": 0, "y": -12.5}])),
        "border_mode": draw(st.sampled_from([0, "reflect", "BORDER_REFLECT_101", "replicate"])),
        "fill": draw(st.sampled_from([0, "mean", [255, 0, 31]])),
        "p": 1,
    }
    pixels = {**affine, "translate_px": {"x": draw(st.integers(-9, 9)), "y": 2}}
    del pixels["translate_percent"]
    limits = [draw(st.floats(-0.3, 0.3))] * 2
    shift = {"shift_limit": limits, "scale_limit": limits, "rotate_limit": [draw(st.integers(-90, 90))] * 2, "p": 1}
    one_warp = draw(
        st.sampled_from([{"Affine": affine}, {"Affine": pixels}, {"ShiftScaleRotate": shift}, {"NoOp": {}}])
    )
    whole = {"num_holes_range": [1, 2], "hole_height_range": [36, 36], "hole_width_range": [36, 36], "fill": "mean"}
    others = [
        {"HorizontalFlip": {"p": draw(st.sampled_from([0, 1]))}},
        {"VerticalFlip": {"p": draw(st.sampled_from([0, 1]))}},
        {"Transpose": {"p": 1}},
        {"CoarseDropout": {**whole, "p": draw(st.sampled_from([0, 0, 1]))}},
        {"RandomCrop": {"height": 36, "width": 36, "p": 1}},
    ]
    return draw(st.permutations([one_warp, *draw(st.lists(st.sampled_from(others), max_size=4))]))


@settings(max_examples=60, deadline=None)
@given(certain_pipelines())
def test_both_engines_agree_where_nothing_is_left_to_chance(transforms: list[dict[str, dict[str, Any]]]) -> None:
    arrays = random_images(3, (36, 36))
    mean = (0.4914, 0.4822, 0.4465)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours, theirs = (
            build_augmentation(transforms, seed=1, mean=mean, shape=(3, 36, 36), engine=engine)(
                as_batch(arrays), torch.arange(3), 1
            )
            for engine in ("compiled", "albumentations")
        )
    assert difference(ours, theirs.permute(0, 2, 3, 1).numpy()) <= 1
