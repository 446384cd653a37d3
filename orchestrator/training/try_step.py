"""Try a training step of a network before anything is spent: some networks fail only when they are trained."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator import spec
from orchestrator.analysis.copy_network import copy_on
from orchestrator.analysis.outputs import LOGITS, auxiliary_outputs, main_output
from orchestrator.architectures.crash import crash
from orchestrator.redact import redact
from orchestrator.text import first_line
from orchestrator.training.host_state import random_states_kept
from orchestrator.training.loss import auxiliary_logits, classification_loss
from orchestrator.training.machine_faults import is_of_machine
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.prepare import replace_layers
from orchestrator.training.weights import state_problem

Shape = tuple[int, int, int]  # channels, height, width
# Multiply-accumulates of a step. One core does 10 to 20 billion in a second.
QUICK = 2e8  # up to here it is taken on the CPU; above, on the meta device: a second for its imports, then 0.05 a step
MOST = 1e11  # above this it is not taken on the CPU even where the meta device cannot do it
LEAST = 30  # taken for each number of an image: a network may compute what is not counted, and images take memory


@dataclass(frozen=True)
class Tried:
    """What a training step showed."""

    problem: str = ""  # why it cannot be taken
    untried: str = ""  # why it is not known whether it can
    auxiliary: int = 0  # outputs beside the logits that are logits as well
    others: int = 0  # tensors beside the logits that are not
    unused: tuple[str, ...] = ()  # names of the trainable parameters that got no gradient


class _UnfitError(Exception):
    """The network cannot be trained; the text says why."""


def try_step(
    network: nn.Module,
    fresh: Callable[[], nn.Module],
    shape: Shape,
    classes: int,
    images: int,
    macs: int,
    auxiliary_weight: float = 0.0,
    optimizer: spec.Optimizer | None = None,
) -> Tried:
    """Take a step (forward in training mode, loss, backward, update) with a batch of ``images`` images of ``shape``.

    As a trial on the CPU would: its layers replaced as there, and its weights updated by its ``optimizer``, if given.
    ``macs``: multiply-accumulates of a forward pass of one image. A large step is taken on the meta device, where
    tensors have shapes and no values. Only the CPU refuses: whatever the meta device cannot do is taken there again,
    if that is not too much, by a ``fresh`` network: a copy's hooks and functions may still use the weights of the
    first. Nothing is changed, neither ``network`` nor any random state.
    """
    cost = 3 * images * max(macs, LEAST * math.prod(shape))
    with random_states_kept():
        if cost > QUICK:
            try:
                return _take(copy_on(network, "meta"), "meta", shape, classes, images, auxiliary_weight, optimizer)
            except Exception as problem:  # a network that asks for values fails there as well
                if cost > MOST:
                    said = f"{_reason(problem)} on torch's meta device, and on the CPU it would take too long"
                    return Tried(untried=said)
        try:
            return _take(fresh(), "cpu", shape, classes, images, auxiliary_weight, optimizer)
        except Exception as problem:  # whatever a user's network raises
            return Tried(untried=_reason(problem)) if is_of_machine(problem) else Tried(problem=_reason(problem))


def _take(
    network: nn.Module,
    device: str,
    shape: Shape,
    classes: int,
    images: int,
    auxiliary_weight: float,
    optimizer: spec.Optimizer | None,
) -> Tried:
    replace_layers(network)
    network.train()
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not trainable:
        raise _UnfitError("it has no parameters to train")
    with torch.enable_grad(), torch.device(device):
        batch = torch.empty(images, *shape) if device == "meta" else _random_images(images, shape)
        output = network(batch)
        _check_logits(output, (images, classes))
        labels = torch.arange(images) % classes
        loss, _ = classification_loss(output, labels, auxiliary_weight=auxiliary_weight)
        if not loss.requires_grad:
            raise _UnfitError("its output has no gradient: it is computed under torch.no_grad, or detached")
        loss.backward()
    unused = tuple(name for name, parameter in trainable.items() if parameter.grad is None)
    if len(unused) == len(trainable):
        raise _UnfitError("none of its parameters gets a gradient: its output does not depend on them")
    if optimizer is not None:
        build_optimizer(optimizer, network.parameters(), device).step()
    if problem := state_problem(network):
        raise _UnfitError(problem)
    logits = len(auxiliary_logits(output))
    return Tried(auxiliary=logits, others=len(auxiliary_outputs(output)) - logits, unused=unused)


def _random_images(images: int, shape: Shape) -> Tensor:
    return torch.randn(images, *shape, generator=torch.Generator().manual_seed(0))


def _check_logits(output: Any, expected: tuple[int, int]) -> None:
    logits = main_output(output)
    if isinstance(logits, Tensor) and tuple(logits.shape) == expected:
        return
    got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(output).__name__
    raise _UnfitError(
        f"in training mode it must return logits of shape (N, {expected[1]}), alone, as the first of several outputs "
        f"or as `{LOGITS}` of a mapping, not {got} for N = {expected[0]}"
    )


def _reason(problem: Exception) -> str:
    return redact(first_line(problem) if isinstance(problem, _UnfitError) else crash(problem))
