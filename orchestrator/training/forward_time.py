"""How long a trained network takes for an image: one at a time, and in batches."""

import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.records import FORWARD_SECONDS, FORWARD_SECONDS_BATCHED
from orchestrator.redact import redact
from orchestrator.text import counted, in_one_line
from orchestrator.training.device import Placement

BUDGET = 0.5  # seconds, for each batch size, after which no further repeat begins
LEAST, MOST = 5, 51  # repeats within the budget; odd, so that the median is one of them
# Images of a batch on a CPU: a larger one takes as long per image (0.81 ms for stride with 32, 0.82 with 360), and five
# repeats of a large one would take longer than many a trial's epoch.
CPU_BATCH = 64

_logger = logging.getLogger(__name__)


def forward_seconds(
    network: nn.Module, images: Tensor, normalisation: Normalisation, placement: Placement, batch_size: int
) -> dict[str, float]:
    """Seconds per image of a forward pass in evaluation mode, by metric: of one image, and of a batch.

    images: (N, 3, H, W) uint8. They are normalised and laid out on the device before the clock starts, as for
    evaluation; the batch has ``batch_size`` of them, on a CPU at most ``CPU_BATCH``. The median of several repeats,
    without a CUDA graph. A batch that the network fails on is left out, with a warning. Nothing is changed: neither
    weights, buffers and modes of the network nor the state of any global random number generator.
    """
    device = placement.device
    batch = min(batch_size, len(images), CPU_BATCH if device.type == "cpu" else batch_size)
    measured: dict[str, float] = {}
    with unchanged(network, device):
        network.eval()
        for name, size in ((FORWARD_SECONDS, 1), (FORWARD_SECONDS_BATCHED, batch)):
            try:
                normalised = apply(images[:size].to(device), normalisation)
                given = normalised.contiguous(memory_format=placement.memory_format)
                measured[name] = _median_seconds(network, given, placement) / size
            except Exception as problem:  # whatever a user's network raises for so many images: the trial is complete
                count = counted(size, "image")
                reason = redact(in_one_line(problem))
                _logger.warning("%s of a batch of %s could not be measured: %s", name, count, reason)
    return measured


def _median_seconds(network: nn.Module, images: Tensor, placement: Placement) -> float:
    """Of one forward pass of a batch, without the first, which chooses and loads kernels."""
    kind, precision = placement.device.type, placement.precision
    synchronise = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(kind, lambda: None)
    found: list[float] = []
    with torch.inference_mode():
        begun = time.perf_counter()
        while len(found) <= LEAST or (len(found) <= MOST and time.perf_counter() - begun < BUDGET):
            synchronise()
            started = time.perf_counter()
            with torch.autocast(kind, precision, enabled=precision != torch.float32):
                network(images)
            synchronise()
            found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


@contextmanager
def unchanged(network: nn.Module, device: torch.device) -> Iterator[None]:
    """After this block ``network`` and every global random number generator are as they were before it."""
    modes = [(module, module.training) for module in network.modules()]
    kept: list[tuple[dict[str, Any], str, Tensor, Tensor]] = [
        (held, name, tensor, tensor.detach().to("cpu", copy=True))  # a GPU may be full
        for module in network.modules()
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]
    numpy: Any = sys.modules.get("numpy")  # a trial trains with torch alone
    states = random.getstate(), numpy.random.get_state() if numpy else None
    on_mps = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(states[0])
        if numpy:
            numpy.random.set_state(states[1])
        if on_mps is not None:
            torch.mps.set_rng_state(on_mps)
        with torch.no_grad():
            for held, name, tensor, before in kept:
                tensor.copy_(before)
                held[name] = tensor
        for module, training in modes:
            module.training = training
