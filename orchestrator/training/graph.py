"""On CUDA: forward and backward recorded once as a graph and replayed, so that the host launches one thing a step."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

# pictures (B, 3, H, W) and labels (B,) in; the loss and the number of right answers out, gradients in the parameters
Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
WARM_UP = 3  # runs before recording, in which libraries choose kernels and make their workspaces

_logger = logging.getLogger(__name__)


class Replayed:
    """``compute``, recorded at the first batch; a batch of another shape, or what cannot be recorded, is computed.

    Not yet run on a GPU by its authors: the tests marked ``gpu`` compare it with ``compute``.
    """

    def __init__(self, compute: Gradients, network: nn.Module) -> None:
        self.compute, self.network = compute, network
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.graph: torch.cuda.CUDAGraph | None = None
        self.tried = False

    def __call__(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As ``compute``, which must leave earlier gradients to its caller."""
        if not self.tried:
            self.tried = True
            try:
                self._record(pictures, labels)
            except RuntimeError as problem:
                self.graph = None
                _logger.warning("steps are not recorded as a CUDA graph: %s", str(problem).partition("\n")[0])
        if self.graph is None or pictures.shape != self.pictures.shape:
            return self.compute(pictures, labels)
        self.pictures.copy_(pictures)
        self.labels.copy_(labels)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss.clone(), self.right.clone()

    def _record(self, pictures: Tensor, labels: Tensor) -> None:
        """Record ``compute``, leaving weights, buffers and random state as they were."""
        self.pictures, self.labels = pictures.clone(), labels.clone()
        buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        random_state = torch.cuda.get_rng_state(pictures.device)
        try:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self._forget()
                    self.compute(self.pictures, self.labels)
            torch.cuda.current_stream().wait_stream(aside)
            self._forget()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.loss, self.right = self.compute(self.pictures, self.labels)
            self.gradients = [p.grad for p in self.parameters]
            self.graph = graph
        finally:
            self._forget()
            torch.cuda.set_rng_state(random_state, pictures.device)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
