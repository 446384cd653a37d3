"""What a network says about images that it does not learn from."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.analysis.outputs import main_output
from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.errors import DivergedError
from orchestrator.training.cuda_graph import GraphedCallable
from orchestrator.training.device import Placement
from orchestrator.training.host_state import host_state_problem
from orchestrator.training.metrics import EVALUATION
from orchestrator.training.randomness import seed_everything


class Evaluation:
    """The logits of fixed images, again and again while a network learns; on CUDA as a graph."""

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        classes: int,
        normalisation: Normalisation,
        placement: Placement,
        batch_size: int,
        seed: int,
        cuda_graph: bool = True,
    ) -> None:
        """images: (N, 3, H, W) uint8, on the device or, where they are too large for it, on the host.

        What a network draws in evaluation mode depends on ``seed`` alone: measured twice, it gives the same logits.
        """
        self.network, self.size, self.seed = network, len(images), seed
        self.logits = torch.zeros(len(images), classes, device=placement.device)
        # What is recorded refers to the recording in no way: a cycle would keep both after the trial has ended.
        forward = _Forward(network, images, normalisation, placement, batch_size, self.logits)
        self._run: Callable[[int], None] = forward.compute
        if cuda_graph and placement.device.type == "cuda" and images.device.type == "cuda":
            self._run = GraphedCallable("the evaluation", forward.compute, forward.probe, network, (self.logits,))

    def __call__(self) -> Tensor:
        """Logits (N, classes) float32, on the CPU: they are scored there wherever the network is, to the same bits."""
        self.network.eval()
        seed_everything(self.seed, "evaluation")
        self._run(self.size)
        return self.logits.to("cpu", copy=True)


@dataclass(frozen=True)
class _Forward:
    network: nn.Module
    images: Tensor
    normalisation: Normalisation
    placement: Placement
    batch_size: int
    logits: Tensor  # what it fills

    def compute(self, size: int) -> None:
        with torch.inference_mode():
            for start in range(0, size, self.batch_size):
                batch = slice(start, start + self.batch_size)
                self.logits[batch] = self.of(self.network, self.images[batch])

    def probe(self, size: int) -> str | None:
        with torch.inference_mode():
            images = self.images[: self.batch_size]
            return host_state_problem(self.network, lambda network: self.of(network, images))

    def of(self, network: nn.Module, images: Tensor) -> Tensor:
        """The logits of a batch of images, as ``network`` computes them."""
        kind, precision = self.placement.device.type, self.placement.precision
        normalised = apply(images.to(self.placement.device), self.normalisation)
        laid_out = normalised.contiguous(memory_format=self.placement.memory_format)
        with torch.autocast(kind, precision, enabled=precision != torch.float32, cache_enabled=kind != "cuda"):
            return main_output(network(laid_out)).float()  # type: ignore[no-any-return]


def score(logits: Tensor, labels: Tensor, where: str) -> dict[str, float]:
    """Every metric of ``EVALUATION``, by name, of logits (N, classes) for labels (N,); absent where it is not a number.

    Raises DivergedError, which says ``where``, if a logit or the loss is not a finite number: argmax would still name a
    class, and an accuracy would come of it.
    """
    if broken := int((~torch.isfinite(logits)).any(dim=1).sum()):
        raise DivergedError(f"the logits of {broken:,} of {len(labels):,} images became inf or nan", where)
    measured = {name: metric(logits, labels) for name, metric in EVALUATION.items()}
    found = {name: float(value) for name, value in measured.items() if value is not None}
    if not math.isfinite(found["loss"]):
        raise DivergedError(f"the loss became {found['loss']}", where)
    return {name: value for name, value in found.items() if math.isfinite(value)}
