"""The one seam to augmentation: a recipe's Albumentations pipeline in, a function over batches out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from orchestrator.data.augment.arguments import BORDERS, INTERPOLATIONS
from orchestrator.data.augment.base import Augmentation
from orchestrator.data.augment.compiled import CompiledAugmentation, compile_transforms
from orchestrator.data.augment.library import LibraryAugmentation, check_transform, is_entry, try_out
from orchestrator.data.augment.operation import UnsupportedError
from orchestrator.data.augment.schema import SCHEMAS, parse
from orchestrator.errors import AugmentationError

Transforms = Sequence[Mapping[str, Mapping[str, Any]]]
Engine = Literal["auto", "compiled", "albumentations"]

_IMPLIED = ("Normalize", "ToTensorV2")


def build_augmentation(
    transforms: Transforms,
    *,
    seed: int,
    mean: Sequence[float],
    shape: tuple[int, int, int],
    engine: Engine = "auto",
    on_fallback: Callable[[str], None] | None = None,
) -> Augmentation:
    """The pipeline as a function over batches of images of ``shape`` (C, H, W), on whatever device they are.

    ``mean`` is the dataset's mean colour, in fractions; a ``fill`` of ``mean`` is that colour. Engine ``compiled`` is
    batched torch, ``albumentations`` the library image by image; ``auto`` takes the first if it has every transform
    and otherwise the second for the whole pipeline, telling ``on_fallback`` why, in one line. Both engines sample from
    the same distributions, but not the same numbers.
    Raises AugmentationError with every problem of the pipeline, or if ``compiled`` is asked for and cannot be had.
    """
    if problems := check_transforms(transforms, shape):
        raise AugmentationError("\n".join(["the augmentation cannot be built:", *(f"  - {line}" for line in problems)]))
    resolved = [_resolve(transform, mean) for transform in transforms]
    if engine != "albumentations":
        try:
            return CompiledAugmentation(compile_transforms(resolved, (shape[1], shape[2])), seed)
        except UnsupportedError as reason:
            if engine == "compiled":
                raise AugmentationError(f"augmentation: there is no compiled form of {reason}") from None
            if on_fallback is not None:
                on_fallback(
                    f"augmentation: there is no compiled form of {reason}; "
                    "the whole pipeline runs through Albumentations, one image at a time, which is slower"
                )
    return LibraryAugmentation(resolved, seed)


def check_transforms(transforms: Transforms, shape: tuple[int, int, int]) -> list[str]:
    """Every problem of a pipeline for images of ``shape`` (C, H, W), in words; an empty list if it can be built.

    Albumentations itself is imported only for what the compiled engine does not have.
    """
    problems = []
    for position, transform in enumerate(transforms):
        found = _check_entry(transform) or _check_colours(transform, shape[0])
        problems += [f"[{position}] {problem}" for problem in found]
    if problems:
        return problems
    grey = [_resolve(transform, (0.5,) * shape[0]) for transform in transforms]
    try:
        compile_transforms(grey, (shape[1], shape[2]))
    except UnsupportedError:
        return try_out(grey, shape)
    except ValueError as problem:
        return [str(problem)]
    return []


def _check_entry(transform: Any) -> list[str]:
    """Problems of one entry of the list, but for those that come with an image's size."""
    if not is_entry(transform):
        return [f"one transform an entry, with its arguments, as `HorizontalFlip: {{p: 0.5}}`, not {transform!r}"]
    [name] = transform
    if name in _IMPLIED:
        return [f"{name} is implied: the trainer always normalises, after the last transform; leave it out"]
    arguments = _resolve(transform, (0.5, 0.5, 0.5))[name]
    problems = parse(name, arguments)[1] if name in SCHEMAS else check_transform(name, arguments)
    return [f"{name}: {problem}" for problem in problems]


def _check_colours(transform: Mapping[str, Mapping[str, Any]], channels: int) -> list[str]:
    """Problems of colours for images of one channel, also in the transforms within this one."""
    [(name, arguments)] = transform.items()
    fill, children = arguments.get("fill"), arguments.get("transforms")
    problems = []
    if channels == 1 and isinstance(fill, (list, tuple)):
        problems.append(f"{name}: fill: images of one channel have no colours; give mean or a number, not {fill!r}")
    inside = children if isinstance(children, (list, tuple)) else ()
    return problems + [problem for child in inside if is_entry(child) for problem in _check_colours(child, channels)]


def _resolve(transform: Mapping[str, Mapping[str, Any]], mean: Sequence[float]) -> dict[str, dict[str, Any]]:
    """The transform with OpenCV's numbers for its names, and the mean colour (rounded to uint8) for ``mean``."""
    [(name, written)] = transform.items()
    arguments = dict(written)
    if arguments.get("fill") == "mean":
        levels = [round(255 * fraction) for fraction in mean]
        arguments["fill"] = levels if len(levels) > 1 else levels[0]
    for argument, names in (("border_mode", BORDERS), ("interpolation", INTERPOLATIONS)):
        for key in (argument, f"mask_{argument}"):
            if isinstance(value := arguments.get(key), str):
                short = value.lower().removeprefix("border_").removeprefix("inter_")
                arguments[key] = names.get(short, value)
    children = arguments.get("transforms")
    if isinstance(children, (list, tuple)):
        arguments["transforms"] = [_resolve(child, mean) if is_entry(child) else child for child in children]
    return {name: arguments}
