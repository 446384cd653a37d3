"""Class-activation maps: which part of an image supports the predicted class (Selvaraju et al., Grad-CAM, 2017)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.analysis.outputs import main_output
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.images import HEADER, IMAGE, write_prediction
from orchestrator.reporting.style import (
    GREEN,
    LARGE,
    MARGIN,
    VERMILION,
    image_at,
    sheet,
)

EACH = 6  # correct and wrong predictions shown


@dataclass(frozen=True)
class Place:
    """The place of the last spatial map before global pooling: a module's output, or the input of a pooling module."""

    module: nn.Module
    before: bool


def last_spatial_map(network: nn.Module, image: Tensor) -> Place:
    """Find it by running ``image``: (1, 3, H, W). Raises ValueError if no module has a map with several positions."""
    found: list[Place] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and _is_map(inputs[0]):
            found.append(Place(module, before=not _is_map(output)))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(look) for module in leaves]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError("the network has no layer with a map of several positions")
    return found[-1]


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def activation_maps(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Maps (N, H, W) float32 from 0 to 1, of the evidence for ``targets``: (N,) int64.

    ``images``: (N, 3, H, W) float32, normalised. The last spatial layer's map is scaled up to the image; its
    largest value is 1, and evidence against the class is 0.
    """
    place = last_spatial_map(network, images[:1].clone())  # a network may change its input
    from captum.attr import LayerGradCam  # takes a while, and there may be no map

    method = LayerGradCam(lambda images: main_output(network(images)), place.module)
    maps = (
        method.attribute(images, targets, attribute_to_layer_input=place.before, relu_attributions=True)
        .detach()
        .float()
    )
    size = (images.shape[2], images.shape[3])
    maps = F.interpolate(maps.detach().float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def draw_activation(context: ReportContext) -> Figure:
    """Confident correct predictions of different classes and the most confident wrong ones, each with its map below."""
    if context.network is None:
        raise ValueError("the trial has no trained network")
    correct, wrong = _of_different_classes(context, context.correct), _most_confident(context, ~context.correct)
    chosen = [*correct, *wrong]
    images = context.dataset.test.images[torch.tensor(chosen)]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (context.mean, context.std))
    targets = torch.from_numpy(context.predicted[chosen])
    maps = activation_maps(context.network, (images.float() / 255 - mean) / std, targets).numpy()
    groups = [(name, colour, group) for name, colour, group in
              (("Correct", GREEN, correct), ("Wrong", VERMILION, wrong)) if group]  # fmt: skip
    across, block = IMAGE + 0.12, 2 * IMAGE + HEADER + 0.66
    figure, axes = sheet(2 * MARGIN + EACH * across - 0.12, MARGIN + len(groups) * block)
    for row, (name, colour, group) in enumerate(groups):
        top = MARGIN + row * block
        axes.text(MARGIN, top, f"{name} predictions", fontsize=LARGE, fontweight="bold", color=colour, va="top")
        for column, index in enumerate(group):
            left, first = MARGIN + column * across, top + HEADER
            image = context.test_image(index)
            image_at(figure, image, left, first, IMAGE)
            image_at(figure, overlay(image, maps[chosen.index(index)]), left, first + IMAGE + 0.05, IMAGE)
            write_prediction(axes, context, index, left, first + 2 * IMAGE + 0.1)
    return figure


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map (H, W), 0 to 1, in colour over the grey image (H, W, 3)."""
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    colour = np.asarray(colormaps["inferno"](heat))[..., :3]
    return np.asarray((255 * (0.4 * grey + 0.6 * colour)).clip(0, 255).astype(np.uint8))


def _most_confident(context: ReportContext, mask: NDArray[np.bool_]) -> list[int]:
    """Up to EACH of the images under ``mask``, most confident first."""
    inside = np.flatnonzero(mask)
    return [int(i) for i in inside[np.argsort(-context.confidences[inside], kind="stable")][:EACH]]


def _of_different_classes(context: ReportContext, mask: NDArray[np.bool_]) -> list[int]:
    """The most confident image of each class under ``mask``, up to EACH."""
    best = [_most_confident(context, mask & (context.labels == c))[:1] for c in range(len(context.classes))]
    return [index for found in best for index in found][:EACH]
