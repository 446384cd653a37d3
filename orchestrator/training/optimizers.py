"""The recipe's optimiser: torch's own, and Muon."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from orchestrator import spec
from orchestrator.training.muon import Muon


def build_optimizer(
    settings: spec.Optimizer, parameters: Iterable[nn.Parameter], device: torch.device | str = "cpu"
) -> Optimizer:
    """The optimiser of the given settings for parameters on ``device``.

    Where torch can, the whole update is one kernel; on CUDA all that changes from step to step is on the device, so
    that a graph can hold the update. Momentum is there, as zeros, before the first step: the fused kernel takes either
    all of it or none, and some parameters may have no gradient at first.
    """
    s, kind = settings, torch.device(device).type
    parameters = list(parameters)
    capturable = kind == "cuda"
    # The kernels take real numbers only; what a network keeps as a parameter may be complex, or whole numbers.
    fused = kind in ("cuda", "cpu") and all(p.is_floating_point() for p in parameters)
    if s.name == "muon":
        return Muon(parameters, s.lr, s.momentum, (s.beta1, s.beta2), s.eps, s.weight_decay)
    groups = decay_groups(parameters, s)
    if s.name == "sgd":
        sgd = torch.optim.SGD(groups, s.lr, s.momentum, weight_decay=s.weight_decay, nesterov=s.nesterov, fused=fused)
        start_at_rest(sgd)
        return sgd
    if s.name == "rmsprop":
        return torch.optim.RMSprop(
            groups,
            s.lr,
            s.alpha,
            s.eps,
            s.weight_decay,
            momentum=s.momentum,
            foreach=True,
            capturable=capturable,
        )
    chosen = torch.optim.AdamW if s.name == "adamw" else torch.optim.Adam
    return chosen(groups, s.lr, (s.beta1, s.beta2), s.eps, s.weight_decay, fused=fused, capturable=capturable)


def decay_groups(parameters: Iterable[nn.Parameter], s: spec.Optimizer) -> list[dict[str, Any]]:
    """One group; two where vectors (biases, normalisation) do not decay."""
    every = list(parameters)
    if s.decay_vectors:
        return [{"params": every}]
    kernels, vectors = [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
    return [{"params": kernels}, {"params": vectors, "weight_decay": 0.0}]


def start_at_rest(optimizer: Optimizer) -> None:
    """Give SGD's momentum its zeros before the first step: the same numbers as torch's own first step.

    The fused kernel would make room for it at the first step and, if a scaled gradient overflows there, leave in that
    room whatever lay in memory.
    """
    for group in optimizer.param_groups:
        if group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
