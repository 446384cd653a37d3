"""Muon for networks of convolutions: their updates orthogonalised, everything else by AdamW."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # raises small singular values fastest and keeps all within about 0.7 to 1.2


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, for every kernel that mixes channels.

    A kernel (out, in, h, w) with ``in`` above 1 is taken as a matrix (out, in * h * w). All other parameters
    (depthwise kernels, linear layers, normalisation, biases) go by AdamW. One learning rate and one weight decay serve
    both, because an orthogonal step is scaled to the size of AdamW's; vectors do not decay.

    torch.optim.Muon takes matrices only and computes in bfloat16, which many CPUs have to imitate: this one takes
    kernels and computes in their own precision. Sources: Jordan et al., "Muon: an optimizer for hidden layers in
    neural networks" (2024), for the iteration; Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982),
    for the factor 0.2 sqrt(max(rows, columns)).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim > 1:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal if parameter.ndim == 4 and parameter.shape[1] > 1 else self._adam
                update(parameter, parameter.grad, group)

    def _orthogonal(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(mean, group["momentum"])  # Nesterov's
        matrix = orthogonal(ahead.reshape(len(ahead), -1))
        size = 0.2 * math.sqrt(max(matrix.shape))
        parameter.add_(matrix.view(ahead.shape), alpha=-group["lr"] * size)

    def _adam(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        first, second = group["betas"]
        mean = state["mean"].lerp_(gradient, 1 - first)
        square = state["square"].lerp_(gradient.square(), 1 - second)
        deviation = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean, deviation, value=-group["lr"] / (1 - first ** state["step"]))


def orthogonal(matrix: Tensor) -> Tensor:
    """U V' of the singular value decomposition U S V' of a ``matrix`` (rows, columns), nearly.

    By Newton and Schulz's iteration with a quintic polynomial, in matrix products alone.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (torch.linalg.matrix_norm(wide) + 1e-7)  # no singular value above 1
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
