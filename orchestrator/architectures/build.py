"""A network, built for the data it is to see, or refused with the reason before any time is spent on it."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from orchestrator.architectures.locate import load_class
from orchestrator.errors import VariantError

Shape = tuple[int, int, int]  # channels, height, width


def build_network(
    variant: str,
    arguments: Mapping[str, Any] | None = None,
    num_classes: int = 10,
    shape: Shape = (3, 32, 32),
) -> nn.Module:
    """The network ``variant``, with weights drawn from torch's current random state, on the CPU, in training mode.

    ``arguments`` go to its constructor; ``num_classes`` and ``in_channels`` are passed where it accepts them.
    It maps (N, 3, H, W) float32 to logits (N, num_classes). Raises VariantError if it cannot be built or if it does
    not do that for pictures of ``shape``.
    """
    network = load_class(variant)
    accepted = inspect.signature(network).parameters
    given = {"num_classes": num_classes, "in_channels": shape[0]}
    known = {k: v for k, v in given.items() if k in accepted}
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()) and (odd := set(arguments or {}) - set(accepted)):
        raise VariantError(
            f"{variant}: its constructor takes no {', '.join(sorted(odd))}; it takes: {', '.join(accepted)}"
        )
    try:
        built = network(**{**known, **(arguments or {})})
    except Exception as problem:  # a user's constructor may raise anything
        raise VariantError(f"{variant}: cannot be built: {type(problem).__name__}: {problem}") from problem
    _check_shapes(variant, built, num_classes, shape)
    return built


def _check_shapes(variant: str, network: nn.Module, num_classes: int, shape: Shape) -> None:
    """Run two pictures through the network in evaluation mode and look at what comes out."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(2, *shape))
    except Exception as problem:  # a network that does not fit fails in its own way
        size = "x".join(map(str, shape))
        raise VariantError(f"{variant}: does not work on {size} pictures: {problem}") from problem
    finally:
        network.train(was_training)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, num_classes):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise VariantError(f"{variant}: must return logits of shape (N, {num_classes}), not {got} for N = 2")
