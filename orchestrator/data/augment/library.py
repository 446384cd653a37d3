"""The Albumentations engine: any pipeline, image by image, through the library itself; the one door to it."""

import inspect
import random
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from orchestrator.data.augment.base import Augmentation
from orchestrator.data.augment.schema import unknown_argument
from orchestrator.data.random_numbers import random_bits
from orchestrator.errors import AugmentationError
from orchestrator.scoped import environment
from orchestrator.text import did_you_mean

Written = Mapping[str, Mapping[str, Any]]

_UPDATE_SWITCH = "NO_ALBUMENTATIONS_UPDATE"  # without it, importing the library asks the network for a newer one


def import_library() -> ModuleType | None:
    """Albumentations, imported without a look at the network; None where it is not installed."""
    with environment({_UPDATE_SWITCH: "1"}):
        try:
            import albumentations
        except ModuleNotFoundError:
            return None
    return albumentations  # type: ignore[no-any-return]


class LibraryAugmentation(Augmentation):
    """Runs Albumentations. Returns uint8."""

    on_device = False

    def __init__(self, transforms: Sequence[Written], seed: int) -> None:
        library = import_library()
        if library is None:
            raise AugmentationError("this augmentation needs Albumentations, which is not installed here")
        self.compose = library.Compose([_build(library, transform) for transform in transforms])
        self.seed = seed

    def draw(self, indices: Tensor, epoch: int) -> list[Tensor]:
        """indices: (N,) int64. Returns the seed of each image's own generators, (N,) int64."""
        return [random_bits(self.seed, epoch, indices, 1)[:, 0]]

    def apply(self, images: Tensor, drawn: list[Tensor]) -> Tensor:
        """images: (B, C, H, W) uint8; drawn: seeds, (B,). Raises AugmentationError if an image changes its size."""
        if not len(self.compose.transforms) or not len(images):
            return images
        keys = drawn[0].tolist()
        arrays = images.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).cpu().numpy()
        changed = [self._one(array, key) for array, key in zip(arrays, keys, strict=True)]
        if wrong := {(p.shape, str(p.dtype)) for p in changed} - {(arrays.shape[1:], "uint8")}:
            raise AugmentationError(f"the pipeline turned an image {arrays.shape[1:]} uint8 into {wrong.pop()}")
        batch = torch.stack([torch.from_numpy(array) for array in changed])
        return batch.permute(0, 3, 1, 2).contiguous().to(images.device)

    def _one(self, array: Any, key: int) -> Any:
        """One image, (H, W, C) uint8, with all transforms drawing from one pair of generators.

        Not Compose.set_random_seed: it seeds every transform alike, so that all with p 0.5 are applied together or not
        at all.
        """
        import numpy as np

        key %= 1 << 64  # generators take no negative seeds
        self.compose.set_random_state(np.random.default_rng(key), random.Random(key))
        changed = self.compose(image=array)["image"]
        return changed[:, :, None] if changed.ndim == 2 else changed  # some transforms drop a single channel


def is_entry(written: object) -> bool:
    """Whether this is one transform as it should be written: its name, with a mapping of its arguments."""
    return isinstance(written, Mapping) and len(written) == 1 and all(isinstance(v, Mapping) for v in written.values())


def check_transform(name: str, written: Mapping[str, Any]) -> list[str]:
    """Every problem of a transform that only the library knows, in words."""
    library = import_library()
    if library is None:
        return [f"{name} needs Albumentations, which is not installed here"]
    known = _transforms(library)
    if name not in known:
        return [f"no transform is called {name}{did_you_mean(name, known)}"]
    problems = []
    children = written.get("transforms", ()) if issubclass(known[name], library.BaseCompose) else ()
    for child in children:
        if not is_entry(child):
            return [f"transforms: one transform an entry, as {{HorizontalFlip: {{p: 0.5}}}}, not {child!r}"]
        [(inside, arguments)] = child.items()
        problems += [f"{inside}: {problem}" for problem in check_transform(inside, arguments)]
    parameters = list(inspect.signature(known[name]).parameters)
    problems += [unknown_argument(argument, parameters) for argument in written if argument not in parameters]
    if problems:
        return problems
    try:
        _build(library, {name: written})
    except Exception as problem:  # a boundary: the library's constructors raise errors of any kind
        return _describe_problem(problem)
    return []


def try_out(transforms: Sequence[Written], shape: tuple[int, int, int]) -> list[str]:
    """Run the pipeline on a grey image of ``shape`` (C, H, W); the problem that this meets, if any, in words.

    Some mistakes show only then: a transform that needs masks, an image that changes its size or becomes float.
    """
    images = torch.full((16, *shape), 128, dtype=torch.uint8)
    try:
        augmentation = LibraryAugmentation(transforms, seed=0)
        augmentation(images, torch.arange(len(images)), 1)
        for transform in augmentation.compose.transforms:
            transform.p = 1.0
        augmentation(images, torch.arange(len(images)), 2)
    except AugmentationError as problem:
        return [str(problem)]
    except Exception as problem:  # a boundary: the library's transforms raise errors of any kind
        return [f"Albumentations cannot run the pipeline on images {shape}: {_describe_problem(problem)[0]}"]
    return []


def _build(library: ModuleType, transform: Written) -> Any:
    """One transform object, with those inside it."""
    [(name, written)] = transform.items()
    kind = _transforms(library)[name]
    arguments = dict(written)
    if "transforms" in arguments:
        arguments["transforms"] = [_build(library, child) for child in arguments["transforms"]]
    # Only where the library checks arguments itself does it know `strict`: without it, a wrong value is replaced by the
    # default, with a warning.
    owner = next(parent for parent in kind.__mro__ if "__init__" in vars(parent))
    if "InitSchema" in vars(owner):
        arguments["strict"] = True
    with warnings.catch_warnings(action="ignore"):  # "ShiftScaleRotate is a special case of Affine"
        return kind(**arguments)


def _transforms(library: ModuleType) -> dict[str, type]:
    """Every transform and composition by name."""
    kinds = library.BasicTransform, library.BaseCompose
    named = {name: value for name, value in vars(library).items() if isinstance(value, type)}
    bases = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D", "Compose", "ReplayCompose"}
    names = {name for name in named if name not in bases and not name.startswith("Base")}
    return {name: named[name] for name in sorted(names) if issubclass(named[name], kinds)}


def _describe_problem(problem: Exception) -> list[str]:
    """The library's complaint, one line a problem."""
    cause: Any = problem.__cause__
    if not hasattr(cause, "errors"):
        return [str(problem) or repr(problem)]
    by_argument: dict[str, list[str]] = {}  # pydantic lists a complaint for every type that a value might have had
    for error in cause.errors():
        by_argument.setdefault("".join(map(str, error["loc"][:1])), []).append(error["msg"])
    return [": ".join(filter(None, (argument, "; or: ".join(said)))) for argument, said in by_argument.items()]
