"""Dropout on a CPU for a fraction of its usual cost: draw which few elements are dropped, not a number for each."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Rates for which it pays and is exact: above, most of the cost is in the dropped elements; below, the 24 bits of a
# float32 begin to show in the gaps.
LEAST, GREATEST = 0.001, 0.3
MARGIN = 5.0  # standard deviations of the number of dropped elements; hardly ever too few, and then more are drawn


class SparseDropout(nn.Dropout):
    """nn.Dropout with the same law: every element is dropped with probability p, independently, the rest scaled."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape, floating point. Returns the same shape, type and memory layout."""
        if not self.training or x.device.type != "cpu" or not LEAST <= self.p <= GREATEST or not x.numel():
            return super().forward(x)
        dropped: Tensor = _Drop.apply(  # type: ignore[no-untyped-call]
            x, dropped_positions(x.numel(), self.p), 1 / (1 - self.p), self.inplace
        )
        return dropped


# As what it stands for: a network may ask for the names of its layers, for example to leave dropout on in evaluation.
SparseDropout.__name__ = nn.Dropout.__name__


def dropped_positions(count: int, rate: float) -> Tensor:
    """Which of ``count`` elements are dropped, (M,) int64, rising: from one to the next lies a geometric gap.

    Draws from torch's global state. That every element is then dropped independently with probability ``rate`` is
    what makes gaps of independent trials geometric.
    """
    parts, following = [], 0  # the first element that is not decided yet
    while following < count:
        expected = (count - following) * rate
        uniform = torch.rand(max(0, int(expected + MARGIN * math.sqrt(expected))) + 8)
        gaps = uniform.neg_().log1p_().mul_(1 / math.log1p(-rate)).long()
        parts.append(gaps.add_(1).cumsum_(0).add_(following - 1))
        following = int(parts[-1][-1]) + 1
    positions = torch.cat(parts) if len(parts) > 1 else parts[0]
    return positions[: int(torch.searchsorted(positions, count))]


class _Drop(torch.autograd.Function):
    """``x * scale`` with zeros at ``positions``, counted in the order in which x lies in memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor, scale: float, inplace: bool) -> Tensor:
        kept = torch.mul(x, scale, out=torch.empty_like(x))  # empty_like: dense, in the layout of x where it has one
        ctx.layout, ctx.scale = kept.stride(), scale
        ctx.save_for_backward(positions)
        _flat(kept).index_fill_(0, positions, 0.0)
        if inplace:
            ctx.mark_dirty(x)
            return x.copy_(kept)
        return kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (positions,) = ctx.saved_tensors
        passed = torch.empty_strided(gradient.shape, ctx.layout, dtype=gradient.dtype)
        torch.mul(gradient, ctx.scale, out=passed)
        _flat(passed).index_fill_(0, positions, 0.0)
        return passed, None, None, None


def _flat(dense: Tensor) -> Tensor:
    """The elements of a dense tensor in the order in which they lie in memory."""
    return dense.as_strided((dense.numel(),), (1,))
