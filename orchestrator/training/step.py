"""One optimiser step, built once for a trial's recipe and placement and handed to the loop."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.spec import Recipe
from orchestrator.training.learner import Learner
from orchestrator.training.loss import classification_loss
from orchestrator.training.metrics import TRAINING, Batch

# images (B, 3, H, W) and labels (B,) in; the sums of the metrics of TRAINING out, (M,) float32 and still on the device:
# reading them would make the host wait for every step. Last, whether the weights were updated.
Step = Callable[[Tensor, Tensor], tuple[Tensor, bool]]


def build_step(learner: Learner, recipe: Recipe) -> Step:
    """The step of the recipe: forward, loss, backward, clip, update."""
    network, optimizer, scaler = learner.network, learner.optimizer, learner.scaler
    parameters = [p for p in network.parameters() if p.requires_grad]
    precision, kind = learner.placement.precision, learner.placement.device.type
    forward = compiled(network) if recipe.compile else network

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, bool]:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, precision, enabled=precision != torch.float32, cache_enabled=kind != "cuda"):
            output = forward(images)
        loss, logits = classification_loss(output, labels, recipe.label_smoothing, recipe.auxiliary_weight)
        loss = loss + penalty(parameters, recipe.l1, recipe.l2)
        scaler.scale(loss).backward()
        if recipe.gradient_clip is not None:
            scaler.unscale_(optimizer)
        with torch.no_grad():
            batch = Batch(loss.detach(), logits.detach(), labels, parameters)
            sums = torch.stack([metric(batch).float() for metric in TRAINING.values()])
        if recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        return sums, update(optimizer, scaler)

    return step


def compiled(network: nn.Module) -> Callable[[Tensor], Any]:
    """``network`` as torch compiles it, to graphs that are a function of it and of the batch alone.

    Torch keeps graphs by the code of a class, for all of its networks: after eight it would compile no more, and a
    second size of batch would be taken by a graph for all sizes or by one of its own, depending on earlier trials.
    """
    torch.compiler.reset()
    return torch.compile(network, dynamic=False)


def update(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> bool:
    """Update the weights; False if the scaled gradients overflowed and ``scaler`` skipped the update."""
    if not scaler.is_enabled():
        optimizer.step()
        return True
    before = scaler.get_scale()  # here the host waits for the device
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before  # an overflow is what lowers the scale


def penalty(parameters: list[nn.Parameter], l1: float, l2: float) -> Tensor | float:
    """``l1`` times the sum of magnitudes plus ``l2`` times the sum of squares, over all parameters."""
    total: Tensor | float = 0.0
    if l1:
        total = total + l1 * torch.stack([p.abs().sum() for p in parameters]).sum()
    if l2:
        squares = [(p.abs() if p.is_complex() else p).square().sum() for p in parameters]
        total = total + l2 * torch.stack(squares).sum()
    return total
