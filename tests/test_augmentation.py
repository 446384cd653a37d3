"""The seam: what a pipeline may say, which engine it gets, and what both engines promise."""

import os
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from patience import PATIENCE

from orchestrator.data.augment.build import build_augmentation, check_transforms
from orchestrator.data.augment.library import import_library
from orchestrator.data.augment.schema import SCHEMAS
from orchestrator.errors import AugmentationError

SHAPE = (3, 16, 16)
MEAN = (0.4914, 0.4822, 0.4465)
FLIP = {"HorizontalFlip": {"p": 0.5}}
SHIFT = {"ShiftScaleRotate": {"shift_limit": 0.1, "scale_limit": 0.1, "rotate_limit": 15, "p": 0.5}}
HOLE = {
    "CoarseDropout": {
        "num_holes_range": [1, 1], "hole_height_range": [8, 8], "hole_width_range": [8, 8], "fill": "mean", "p": 0.5,
    }
}  # fmt: skip
RECIPE = (FLIP, SHIFT, HOLE)
PATTERN = {"CoarseDropout": {"fill": "random"}}
ENGINES = ("compiled", "albumentations")


def build(transforms: Any, engine: Any = "auto", seed: int = 0, shape: Any = SHAPE, **others: Any) -> Any:
    return build_augmentation(transforms, seed=seed, mean=MEAN, shape=shape, engine=engine, **others)


def random_images(n: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_does_not_depend_on_its_batch(engine: str) -> None:
    augmentation, batch = build(RECIPE, engine), random_images(40)
    indices = torch.arange(40) * 1000
    whole = augmentation(batch, indices, 3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert torch.equal(augmentation(batch[order], indices[order], 3), whole[order])
    alone = [augmentation(batch[i : i + 1], indices[i : i + 1], 3) for i in range(40)]
    assert torch.equal(torch.cat(alone), whole)
    assert torch.equal(build(RECIPE, engine)(batch, indices, 3), whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_epoch_seed_and_index_each_matter(engine: str) -> None:
    image = random_images(1).expand(40, -1, -1, -1)
    results = [
        build(RECIPE, engine)(image, torch.arange(40), 1),
        build(RECIPE, engine)(image, torch.arange(40), 2),
        build(RECIPE, engine, seed=1)(image, torch.arange(40), 1),
        build(RECIPE, engine)(image, torch.arange(40, 80), 1),
    ]
    for i, first in enumerate(results):
        assert not any(torch.equal(first, second) for second in results[:i])
    assert len(results[0].flatten(1).unique(dim=0)) > 20


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["HorizontalFlip", "ShiftScaleRotate", "Affine", "CoarseDropout", "VerticalFlip"])
def test_p_0_never_and_p_1_always(engine: str, name: str) -> None:
    arguments = {"Affine": {"rotate": 45}, "CoarseDropout": {"num_holes_range": [9, 9]}}.get(name, {})
    batch, indices = random_images(100), torch.arange(100)
    never = build([{name: {**arguments, "p": 0}}], engine)(batch, indices, 1)
    always = build([{name: {**arguments, "p": 1}}], engine)(batch, indices, 1)
    assert torch.equal(never, batch)
    assert (always != batch).flatten(1).any(1).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_input_is_left_alone(engine: str) -> None:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        batch = random_images(30).contiguous(memory_format=memory_format)
        before = batch.clone()
        result = build(RECIPE, engine)(batch, torch.arange(30), 1)
        assert torch.equal(batch, before)
        assert torch.equal(result, build(RECIPE, engine)(before.contiguous(), torch.arange(30), 1))


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_an_empty_pipeline_changes_nothing(engine: str) -> None:
    batch = random_images(3)
    assert torch.equal(build((), engine)(batch, torch.arange(3), 1), batch)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_batch_stays_empty(engine: str) -> None:
    assert build(RECIPE, engine)(random_images(0), torch.arange(0), 1).shape == (0, *SHAPE)


@pytest.mark.parametrize("engine", ENGINES)
def test_mean_is_the_mean_colour(engine: str) -> None:
    hole = {
        "CoarseDropout": {**HOLE["CoarseDropout"], "hole_height_range": [16, 16], "hole_width_range": [16, 16], "p": 1}
    }
    result = build([hole], engine)(random_images(2), torch.arange(2), 1)
    assert result.dtype == torch.uint8
    assert (result == torch.tensor([125, 123, 114])[:, None, None]).all()


def test_a_fallback_says_why_in_one_line() -> None:
    lines: list[str] = []
    build((FLIP, PATTERN, {"Blur": {}}), on_fallback=lines.append)(random_images(4), torch.arange(4), 1)
    [line] = lines
    assert "CoarseDropout (fill random)" in line
    assert "\n" not in line
    build((FLIP, {"RandomBrightnessContrast": {}}), on_fallback=lines.append)
    assert "RandomBrightnessContrast" in lines[1]


def test_no_fallback_where_none_is_needed_or_asked_for() -> None:
    lines: list[str] = []
    build(RECIPE, on_fallback=lines.append)
    build(RECIPE, "albumentations", on_fallback=lines.append)
    assert not lines
    with pytest.raises(AugmentationError, match=r"no compiled form of CoarseDropout \(fill random\)"):
        build((PATTERN,), "compiled", on_fallback=lines.append)


def test_the_librarys_random_state_is_its_own() -> None:
    transforms = (FLIP, PATTERN, {"GaussNoise": {"p": 1}}, {"OneOf": {"transforms": [{"Blur": {}}, SHIFT]}})
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    results = [build(transforms)(random_images(20), torch.arange(20), 1)]
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    assert after[:2] == before[:2]
    assert torch.equal(after[2], before[2])
    random.seed(2)
    np.random.seed(2)
    results.append(build(transforms)(random_images(20), torch.arange(20), 1))
    assert torch.equal(*results)


def test_importing_the_library_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "0"):
        monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
        if value is not None:
            monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", value)
        assert import_library() is not None
        assert os.environ.get("NO_ALBUMENTATIONS_UPDATE") == value


def test_the_compiled_path_needs_torch_only() -> None:
    script = (
        f"transforms = {list(RECIPE)!r}"
        + """
import sys
for name in ("albumentations", "cv2", "numpy", "yaml", "ray", "mlflow", "torchvision", "pydantic", "scipy"):
    sys.modules[name] = None
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
from orchestrator.data.augment.build import build_augmentation, check_transforms
from orchestrator.errors import AugmentationError
augmentation = build_augmentation(transforms, seed=0, mean=(0.5, 0.5, 0.5), shape=(3, 16, 16))
images = torch.full((9, 3, 16, 16), 200, dtype=torch.uint8)
result = augmentation(images, torch.arange(9), 1)
assert result.shape == images.shape and not torch.equal(result, images)
assert "missing" in check_transforms([{"RandomCrop": {}}], (3, 16, 16))[0]
assert "not installed" in check_transforms([{"GaussNoise": {}}], (3, 16, 16))[0]
try:
    build_augmentation([{"CoarseDropout": {"fill": "random"}}], seed=0, mean=(0.5, 0.5, 0.5), shape=(3, 16, 16))
except AugmentationError as error:
    print(error)
"""
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "needs Albumentations, which is not installed" in done.stdout


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ({"HorisontalFlip": {}}, ["HorisontalFlip", "did you mean HorizontalFlip?"]),
        ({"horizontalflip": {}}, ["did you mean HorizontalFlip?"]),
        ({"Normalize": {"mean": [0.5, 0.5, 0.5]}}, ["Normalize is implied"]),
        ({"ToTensorV2": {}}, ["ToTensorV2 is implied"]),
        ({"HorizontalFlip": {"always_apply": True}}, ["always_apply is an old name; write p: 1.0"]),
        ({"GaussNoise": {"always_apply": True}}, ["always_apply is an old name; write p: 1.0"]),
        ({"CoarseDropout": {"max_holes": 1}}, ["max_holes", "num_holes_range"]),
        ({"CoarseDropout": {"max_height": 16}}, ["max_height", "hole_height_range"]),
        ({"CoarseDropout": {"num_holes": 1}}, ["num_holes", "num_holes_range"]),
        ({"CoarseDropout": {"fill_value": 0}}, ["fill_value is an old name; write fill"]),
        ({"ShiftScaleRotate": {"value": 0}}, ["value is an old name; write fill"]),
        ({"GaussNoise": {"var_limit": 10}}, ["var_limit", "std_range"]),
        ({"ShiftScaleRotate": {"rotate_limits": 5}}, ["rotate_limits", "did you mean rotate_limit?"]),
        ({"Blur": {"blur_limits": 5}}, ["blur_limits", "did you mean blur_limit?"]),
        ({"HorizontalFlip": {"p": 1.5}}, ["p: ", "from 0 to 1"]),
        ({"GaussNoise": {"p": 1.5}}, ["p: ", "less than or equal to 1"]),
        ({"Blur": {"blur_limit": "much"}}, ["blur_limit"]),
        ({"HorizontalFlip": None}, ["with its arguments"]),
        ({"HorizontalFlip": {}, "Blur": {}}, ["one transform an entry"]),
        ({"RandomCrop": {"height": 8}}, ["width is missing"]),
        ({"RandomCrop": {"height": 17, "width": 16}}, ["does not fit", "PadIfNeeded"]),
        ({"RandomCrop": {"height": 8, "width": 8}}, ["makes images of 8 × 8 out of 16 × 16"]),
        ({"CoarseDropout": {"hole_height_range": [40, 50], "hole_width_range": [1, 1]}}, ["larger than the image"]),
        ({"CoarseDropout": {"hole_height_range": [4, 5]}}, ["both in pixels or both as fractions"]),
        ({"CoarseDropout": {"fill": "meen"}}, ["fill: expected mean"]),
        ({"Affine": {"border_mode": "mirror"}}, ["border_mode", "reflect_101"]),
        ({"Affine": {"translate_px": 1, "translate_percent": 0.1}}, ["give one of them"]),
        ({"Resize": {"height": 8, "width": 8}}, ["(16, 16, 3) uint8 into ((8, 8, 3), 'uint8')"]),
        ({"ToFloat": {}}, ["float32"]),
        ({"OneOf": {"transforms": [{"Blurr": {}}]}}, ["Blurr", "did you mean Blur?"]),
        ({"OneOf": {"transforms": [{"Blur": None}]}}, ["one transform an entry"]),
        ({"MaskDropout": {}}, ["Albumentations cannot run the pipeline"]),
    ],
)
def test_problems_are_told_in_words(transform: Any, words: list[str]) -> None:
    problems = check_transforms([transform], SHAPE)
    assert len(problems) == 1
    for word in words:
        assert word in problems[0]
    with pytest.raises(AugmentationError) as caught:
        build([transform])
    assert problems[0] in str(caught.value)


def test_every_problem_at_once_with_its_place() -> None:
    problems = check_transforms([FLIP, {"Flap": {}}, {"CoarseDropout": {"max_holes": 2, "p": 2, "fill": -1}}], SHAPE)
    assert [problem[:4] for problem in problems] == ["[1] ", "[2] ", "[2] ", "[2] "]


VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 5, -1, 16, 40, 0.5, -0.2, 1.5, None, "center", "mean", "random", "constant", "x"]),
    st.lists(st.sampled_from([0, 1, 0.5, 2, 3.0, 16, -1, 0.1, 20, 300]), min_size=0, max_size=4),
    st.dictionaries(st.sampled_from("xy"), st.sampled_from([1, 0.5, [0, 1], [1, -1], None, [1]]), max_size=2),
    st.booleans(),
)


@st.composite
def written(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """A transform of ours with some of its arguments, right and wrong."""
    name = draw(st.sampled_from(sorted(SCHEMAS)))
    sides = st.sampled_from([8, 16, 20, 0])
    known = {
        "RandomCrop": {"height": draw(sides), "width": 16},
        "PadIfNeeded": {"min_height": draw(sides), "min_width": 8},
    }
    arguments = draw(st.dictionaries(st.sampled_from([*SCHEMAS[name], "always_apply"]), VALUES, max_size=2))
    return {name: {**known.get(name, {}), **arguments}}


def problem_in_the_library(transform: dict[str, dict[str, Any]]) -> str:
    """What Albumentations itself says of it, called as its own documentation calls it; empty if it runs."""
    import albumentations

    from orchestrator.data.augment.build import _resolve

    [(name, arguments)] = _resolve(transform, (0.5, 0.5, 0.5)).items()
    image = np.full((16, 16, 3), 128, np.uint8)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made = getattr(albumentations, name)(**arguments)
            made.p = 1.0 if made.p else 0.0
            made.set_random_seed(0)
            for _ in range(20):
                changed = made(image=image)["image"]
                if changed.shape != image.shape:
                    return f"shape {changed.shape}"
    except Exception as problem:
        return str(problem) or repr(problem)
    complaints = [str(warning.message) for warning in caught if "special case of Affine" not in str(warning.message)]
    return "; ".join(complaints)


def strict_on_purpose(transform: dict[str, dict[str, Any]]) -> bool:
    """Values that Albumentations takes, or takes in silence, and that we refuse because nobody means them."""
    [(name, arguments)] = transform.items()
    switches = {argument for argument, (default, _) in SCHEMAS[name].items() if isinstance(default, bool)}
    booleans = any(isinstance(v, bool) or k in switches for k, v in arguments.items())  # true as a number, 0 for false
    fill = arguments.get("fill", 0)
    levels = fill if isinstance(fill, list) else [fill]
    colour = isinstance(fill, list) and len(fill) != 3  # four numbers for three colours
    outside = any(not 0 <= level <= 255 for level in levels if isinstance(level, (int, float)))
    spans = [arguments.get(f"hole_{side}_range", [0.1, 0.2]) for side in ("height", "width")]
    mixed = name == "CoarseDropout" and all(spans) and (max(spans[0]) >= 1) != (max(spans[1]) >= 1)
    limits = [value for argument, value in arguments.items() if argument.endswith("_limit")]
    negative = any(isinstance(value, (int, float)) and value < 0 for value in limits)
    return booleans or colour or outside or mixed or negative


@settings(max_examples=400, deadline=None)
@given(written())
@example({"CoarseDropout": {"num_holes_range": [1.0, 2.0], "hole_height_range": [3, 3], "hole_width_range": [3, 3]}})
@example({"PadIfNeeded": {"min_height": None, "pad_height_divisor": 4, "min_width": 16}})
@example({"Affine": {"scale": {"x": [0.5, 1]}, "keep_ratio": True}})
@example({"RandomCrop": {"height": 20, "width": 16, "pad_if_needed": True}})
def test_our_schema_accepts_and_refuses_what_albumentations_does(transform: dict[str, dict[str, Any]]) -> None:
    ours, theirs = check_transforms([transform], SHAPE), problem_in_the_library(transform)
    if ours and not theirs:
        assert strict_on_purpose(transform), ours
    if theirs:
        assert ours, theirs


@st.composite
def supported(draw: st.DrawFn) -> tuple[list[dict[str, dict[str, Any]]], tuple[int, int, int]]:
    """A pipeline with a compiled form, and the images it is for."""
    height, width = draw(st.sampled_from([(8, 8), (16, 16), (12, 20), (9, 33)]))
    p = st.sampled_from([0, 0.3, 0.5, 1])
    span = st.tuples(st.floats(-0.5, 0), st.floats(0, 0.9)).map(list)
    border = {"border_mode": draw(st.sampled_from(["constant", "replicate", "reflect", "reflect_101"]))}
    border["fill"] = draw(st.sampled_from([0, 255, "mean", [0, 99.5, 255]]))
    size = draw(st.tuples(st.integers(1, 8), st.integers(0, 4)).map(lambda pair: [pair[0], pair[0] + pair[1]]))
    choices: list[list[dict[str, dict[str, Any]]]] = [
        [{name: {"p": draw(p)}}] for name in ("HorizontalFlip", "VerticalFlip", "NoOp")
    ]
    choices += [
        [{"ShiftScaleRotate": {"shift_limit": draw(span), "scale_limit": draw(span), **border, "p": draw(p)}}],
        [{"Affine": {"translate_px": [-3, 5], "rotate": [-90, 90], "shear": draw(span), **border, "p": draw(p)}}],
        [
            {
                "Affine": {
                    "translate_percent": draw(span),
                    "scale": [0.3, 3],
                    "keep_ratio": draw(st.booleans()),
                    "p": draw(p),
                }
            }
        ],
        [{"CoarseDropout": {"num_holes_range": draw(st.sampled_from([[1, 1], [2, 5]])), "p": draw(p)}}],
        [{"CoarseDropout": {"hole_height_range": size, "hole_width_range": size, "fill": "mean", "p": draw(p)}}],
        [
            {"PadIfNeeded": {"min_height": height + 5, "min_width": width + 4, **border}},
            {"RandomCrop": {"height": height, "width": width}},
        ],
    ]
    if height == width:
        choices += [[{name: {"p": draw(p)}}] for name in ("Transpose", "RandomRotate90", "D4")]
    return [t for choice in draw(st.lists(st.sampled_from(choices), max_size=5)) for t in choice], (3, height, width)


@settings(max_examples=100, deadline=None)
@given(supported(), st.integers(0, 2**31 - 1), st.integers(1, 1000), st.integers(0, 9))
def test_any_supported_pipeline_runs(pipeline: Any, seed: int, epoch: int, batch: int) -> None:
    transforms, shape = pipeline
    augmentation = build(transforms, "compiled", seed, shape)
    images = random_images(batch, shape)
    indices = torch.arange(batch) * 7919
    result = augmentation(images, indices, epoch)
    assert result.dtype == torch.uint8
    assert result.shape == images.shape
    assert torch.equal(augmentation(images.flip(0), indices.flip(0), epoch).flip(0), result)
