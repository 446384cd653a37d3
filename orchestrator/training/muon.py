"""Muon for networks of convolutions: their updates orthogonalised, everything else by AdamW."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # raises small singular values fastest and keeps all within about 0.7 to 1.2


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, for every kernel that mixes channels.

    A kernel (out, in, h, w) with ``in`` above 1 is taken as a matrix (out, in * h * w). All other parameters
    (depthwise kernels, linear layers, normalisation, biases, and what is complex) go by AdamW. One learning rate and
    one weight decay serve both, because an orthogonal step is scaled to the size of AdamW's; vectors do not decay.

    torch.optim.Muon takes matrices only, one after the other, and computes in bfloat16, which many CPUs have to
    imitate: this one takes kernels, many at a time, and computes in their own precision; on CUDA a graph can hold its
    step. Sources: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), for the iteration;
    Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982), for the factor 0.2 sqrt(max(rows, columns)).
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
        every = list(parameters)
        kernels = [p for p in every if p.ndim == 4 and p.shape[1] > 1 and p.is_floating_point()]
        matrices = [p for p in every if p.ndim > 1 and not any(p is kernel for kernel in kernels)]
        vectors = [p for p in every if p.ndim <= 1]
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        kinds = [
            {"params": kernels, "orthogonal": True},
            {"params": matrices, "orthogonal": False},
            {"params": vectors, "orthogonal": False, "weight_decay": 0.0},
        ]
        super().__init__([kind for kind in kinds if kind["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            if learning:
                (self._orthogonal if group["orthogonal"] else self._adamw)(learning, group)

    def _orthogonal(self, kernels: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [kernel.grad for kernel in kernels if kernel.grad is not None]
        for kernel in kernels:
            self.state[kernel].setdefault("momentum", torch.zeros_like(kernel))
        means = [self.state[kernel]["momentum"] for kernel in kernels]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])  # Nesterov's
        updates = orthogonal([_matrix(a, kernel) for a, kernel in zip(ahead, kernels, strict=True)])
        torch._foreach_mul_(updates, [0.2 * math.sqrt(max(update.shape)) for update in updates])
        torch._foreach_mul_(kernels, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_mul_(updates, -group["lr"])
        torch._foreach_add_(kernels, [_kernel(u, k) for u, k in zip(updates, kernels, strict=True)])

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        kind = parameters[0].device.type
        for parameter in parameters:
            if not self.state[parameter]:
                count = torch.zeros((), device=parameter.device if kind == "cuda" else None)  # of updates
                mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self.state[parameter].update(count=count, mean=mean, square=square)
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["count"] for state in states],
            fused=kind in ("cuda", "cpu") and all(parameter.is_floating_point() for parameter in parameters),
            capturable=kind == "cuda",
            has_complex=any(parameter.is_complex() for parameter in parameters),
            amsgrad=False,
            maximize=False,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """U V' of the singular value decomposition U S V' of each matrix (rows, columns), nearly; in new memory.

    By Newton and Schulz's iteration with a quintic polynomial, in matrix products alone. On CUDA all matrices are one
    batch, filled up with zeros, which the iteration leaves zeros; elsewhere those of one shape are.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT for matrix in matrices]
    found: dict[int, Tensor] = {}
    for members in _batches(wide):
        rows, columns = (max(wide[i].shape[side] for i in members) for side in (0, 1))
        batch = wide[0].new_zeros(len(members), rows, columns)
        places = [batch[at, : wide[i].shape[0], : wide[i].shape[1]] for at, i in enumerate(members)]
        torch._foreach_copy_(places, [wide[i] for i in members])
        done = _iterate(batch)
        for at, i in enumerate(members):
            place = done[at, : wide[i].shape[0], : wide[i].shape[1]]
            found[i] = place if matrices[i].shape == wide[i].shape else place.mT
    return [found[i].contiguous() for i in range(len(matrices))]


def _iterate(batch: Tensor) -> Tensor:
    """batch: (n, rows, columns), with at most as many rows as columns."""
    a, b, c = QUINTIC
    batch = batch / (torch.linalg.matrix_norm(batch, keepdim=True) + 1e-7)  # no singular value above 1
    for _ in range(ITERATIONS):
        gram = batch @ batch.mT
        batch = torch.baddbmm(batch, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), batch, beta=a)
    return batch


def _batches(matrices: list[Tensor]) -> list[list[int]]:
    """Which matrices are worked on together."""
    if matrices[0].device.type == "cuda":
        return [list(range(len(matrices)))]
    by_shape: dict[torch.Size, list[int]] = {}
    for i, matrix in enumerate(matrices):
        by_shape.setdefault(matrix.shape, []).append(i)
    return list(by_shape.values())


def _matrix(values: Tensor, like: Tensor) -> Tensor:
    """Values of a kernel (out, in, h, w) as (out, in * h * w), in the order in which the kernel lies in memory."""
    return (values.permute(0, 2, 3, 1) if _is_channels_last(like) else values).reshape(len(values), -1)


def _kernel(matrix: Tensor, like: Tensor) -> Tensor:
    """What :func:`_matrix` made a matrix of."""
    out, inputs, height, width = like.shape
    if _is_channels_last(like):
        return matrix.view(out, height, width, inputs).permute(0, 3, 1, 2)
    return matrix.view(like.shape)


def _is_channels_last(kernel: Tensor) -> bool:
    return kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
