"""Build a network for a dataset, or reject it with the reason before training starts."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from orchestrator.analysis.outputs import main_output
from orchestrator.architectures.locate import load_class
from orchestrator.architectures.table import VARIANTS
from orchestrator.errors import VariantError
from orchestrator.spec import variant_label

Shape = tuple[int, int, int]  # channels, height, width

# Usual parameter names for the number of classes, and for the channels of an image.
CLASSES: tuple[str, ...] = (
    "num_classes",
    "n_classes",
    "nb_classes",
    "num_class",
    "n_class",
    "class_num",
    "class_count",
    "nclass",
)
CLASSES += ("nclasses", "num_labels", "out_classes", "classes")
CHANNELS = ("in_channels", "in_chans", "input_channels", "image_channels", "img_channels", "in_ch")
IMAGE_CHANNELS = (1, 3)  # a default that is one of these means the channels of an image; 16 or 64 the width of a layer


@dataclass(frozen=True)
class Passed:
    """What a constructor gets in addition to the user's own arguments, and notes about it for the user."""

    known: dict[str, int]
    notes: tuple[str, ...]


def passed(variant: str, arguments: Mapping[str, Any], num_classes: int, shape: Shape) -> Passed:
    """The number of classes and of channels, for those parameters of ``variant`` that certainly mean them.

    A parameter with a usual name for the number of classes gets it. One with a usual name for the channels gets them
    only if it has no default, or 1 or 3: some networks call the width of their first layer ``in_channels``. Names in
    ``arguments`` are left to the user. The notes are empty for built-in variants.
    """
    accepted = inspect.signature(load_class(variant)).parameters
    known: dict[str, int] = {}
    left: list[str] = []
    for name in (n for n in CLASSES if n in accepted and n not in arguments):
        default = accepted[name].default
        if default is inspect.Parameter.empty or (isinstance(default, int | None) and not isinstance(default, bool)):
            known[name] = num_classes
    for name in (n for n in CHANNELS if n in accepted and n not in arguments):
        default = accepted[name].default
        if default is inspect.Parameter.empty or (default in IMAGE_CHANNELS and not isinstance(default, bool)):
            known[name] = shape[0]
        else:
            left.append(
                f"{name} keeps {default!r}, which is not a number of image channels; if it is, set it in arguments"
            )
    if variant in VARIANTS:
        return Passed(known, ())
    given = ", ".join(f"{name}={value}" for name, value in known.items()) or "nothing"
    return Passed(known, ("; ".join([f"passed to {variant_label(variant)}: {given}", *left]),))


def build_network(
    variant: str,
    arguments: Mapping[str, Any] | None = None,
    num_classes: int = 10,
    shape: Shape = (3, 32, 32),
) -> nn.Module:
    """The network ``variant``, with weights drawn from torch's current random state, on the CPU, in training mode.

    ``arguments`` go to its constructor, with the number of classes and of channels as in :func:`passed`.
    It maps (N, 3, H, W) float32 to logits (N, num_classes), which may be the first of several outputs or the part
    ``logits`` of a mapping. Raises VariantError if it cannot be built or if it does
    not do that for images of ``shape``.
    """
    network = load_class(variant)
    accepted = inspect.signature(network).parameters
    known = passed(variant, arguments or {}, num_classes, shape).known
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()) and (odd := set(arguments or {}) - set(accepted)):
        raise VariantError(
            f"{variant}: its constructor has no parameter {', '.join(sorted(odd))}; it has: {', '.join(accepted)}"
        )
    try:
        built = network(**{**known, **(arguments or {})})
    except Exception as problem:  # a user's constructor may raise anything
        raise VariantError(f"{variant}: cannot be built: {type(problem).__name__}: {problem}") from problem
    try:
        _check_shapes(variant, built, num_classes, shape)
    except VariantError as problem:
        if known.keys() & set(CLASSES) or set(arguments or {}) & set(CLASSES) or not accepted:
            raise
        raise VariantError(
            f"{problem} (no parameter of its constructor is named like a number of classes, such as {CLASSES[0]}: it "
            f"has {', '.join(accepted)}; set the right one in the variant's arguments)"
        ) from problem
    return built


def _check_shapes(variant: str, network: nn.Module, num_classes: int, shape: Shape) -> None:
    """Run two images through the network in evaluation mode and check its output."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            logits = main_output(network(torch.zeros(2, *shape)))
    except Exception as problem:  # a network that does not fit may raise anything
        size = "x".join(map(str, shape))
        raise VariantError(f"{variant}: does not work with {size} images: {problem}") from problem
    finally:
        network.train(was_training)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, num_classes):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise VariantError(f"{variant}: must return logits of shape (N, {num_classes}), not {got} for N = 2")
