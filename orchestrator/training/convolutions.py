"""Convolutions that a device's library computes slowly, computed as equal ones that it computes well.

They hold for any weights; the sums are the same, so results differ by rounding only. CPU times are of one core with
AVX2 for 128 maps in the channels-last layout, forward and backward; GPU times of an H200 for 256 maps in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

WIDEST_DENSE = 64  # channels: with more, the zeros cost more than taking groups one by one


class _FasterConv2d(nn.Conv2d):
    """A convolution of (N, C, H, W) computed otherwise; one of (C, H, W) is torch's own."""

    def __init_subclass__(cls) -> None:
        cls.__name__ = nn.Conv2d.__name__  # as what it stands for: a network may ask for the names of its layers

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.dim() != 4:
            found: Tensor = super()._conv_forward(input, weight, bias)
            return found
        return self.convolve(input, weight, bias)

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What ``F.conv2d`` with the settings of this layer returns."""
        raise NotImplementedError


class SubsampledConv2d(_FasterConv2d):
    """Stride equal to dilation: only every stride-th pixel is ever seen, so take those and convolve without gaps.

    Depthwise 3 x 3 with stride and dilation 2 on 64 maps of 32 x 32: 22 ms instead of 315 ms.
    """

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`_FasterConv2d`."""
        rows, columns = self.dilation
        seen: Tensor = _Subsample.apply(input, rows, columns)  # type: ignore[no-untyped-call]
        padding = (_whole(self.padding)[0] // rows, _whole(self.padding)[1] // columns)
        return F.conv2d(seen, weight, bias, 1, padding, 1, self.groups)


class PhasedConv2d(_FasterConv2d):
    """Depthwise with dilation d, stride 1: d x d interleaved images, each convolved without gaps.

    CPU, 3 x 3 with dilation 2 on 128 maps of 8 x 8: 11 ms instead of 43 ms.
    """

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`_FasterConv2d`."""
        (down, across), d = _whole(self.padding), self.dilation[0]
        high, wide = input.shape[2] + 2 * down, input.shape[3] + 2 * across
        # Whole cells of d x d; what the last pixels add to the result is cut off again.
        padded = F.pad(input, (across, across + -wide % d, down, down + -high % d))
        phases = F.conv2d(_to_phases(padded, d), weight, bias, groups=self.groups)
        kernel = self.kernel_size
        return _from_phases(phases, d)[:, :, : high - d * (kernel[0] - 1), : wide - d * (kernel[1] - 1)]


class RepeatedConv2d(_FasterConv2d):
    """One channel a group and several out of each: repeat each channel, and the convolution is depthwise.

    3 x 3 from 32 to 128 channels in 32 groups on 16 x 16: 29 ms instead of 52 ms.
    """

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`_FasterConv2d`."""
        count, channels, high, wide = input.shape
        times = self.out_channels // self.in_channels
        last = input.permute(0, 2, 3, 1).unsqueeze(-1).expand(-1, -1, -1, -1, times)
        repeated = last.reshape(count, high, wide, channels * times).permute(0, 3, 1, 2)
        return F.conv2d(repeated, weight, bias, self.stride, self.padding, self.dilation, self.out_channels)


class DenseConv2d(_FasterConv2d):
    """Few channels a group, on a GPU: its matrix units want all channels at once, so fill the kernel up with zeros.

    3 x 3 from 32 to 128 channels in 32 groups on 16 x 16: cuDNN takes the groups one by one, 5 ms in all.
    """

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`_FasterConv2d`."""
        own = torch.eye(self.groups, dtype=weight.dtype, device=weight.device)
        own = own.repeat_interleave(self.out_channels // self.groups, dim=0)  # (out, groups)
        whole = (weight[:, None] * own[:, :, None, None, None]).flatten(1, 2)
        return F.conv2d(input, whole, bias, self.stride, self.padding, self.dilation)


class PaddedConv2d(_FasterConv2d):
    """Few channels in, on a GPU: filled up with zeros to as many as cuDNN's kernels for bfloat16 read at a time.

    3 x 3 from 16 to 32 channels with dilation 2 on 16 x 16: its weights' gradient takes 0.2 ms as it is, by a kernel
    for float32, and 0.01 ms from 32 channels.
    """

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`_FasterConv2d`."""
        lacking = (0, 0, 0, 0, 0, -self.in_channels % aligned(self))
        return F.conv2d(F.pad(input, lacking), F.pad(weight, lacking), bias, self.stride, self.padding, self.dilation)


def aligned(layer: nn.Conv2d) -> int:
    """Of how many channels in a multiple is best for a GPU."""
    return 32 if max(layer.dilation) > 1 else 8


def faster_class(layer: nn.Conv2d, device: str = "cpu") -> type[nn.Conv2d]:
    """The class that computes the layer best on a kind of device; nn.Conv2d itself for most. By its geometry alone."""
    if device not in ("cpu", "cuda") or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return nn.Conv2d
    padding, depthwise = _whole(layer.padding), layer.groups == layer.in_channels > 1
    same = depthwise and layer.out_channels == layer.in_channels
    if max(layer.dilation) > 1 and layer.stride == layer.dilation:
        whole = all(p % d == 0 for p, d in zip(padding, layer.dilation, strict=True))
        return SubsampledConv2d if whole else nn.Conv2d
    if same:
        square = layer.dilation[0] == layer.dilation[1] > 1
        return PhasedConv2d if square and layer.stride == (1, 1) else nn.Conv2d
    if device == "cpu":
        return RepeatedConv2d if depthwise else nn.Conv2d
    if layer.groups > 1:
        few = layer.in_channels // layer.groups < 8 and layer.in_channels <= WIDEST_DENSE
        return DenseConv2d if few else nn.Conv2d
    return PaddedConv2d if layer.in_channels < 32 and layer.in_channels % aligned(layer) else nn.Conv2d


def _whole(padding: Any) -> tuple[int, int]:
    """Padding as numbers; a layer whose padding is a word is left as it is."""
    return padding[0], padding[1]


class _Subsample(torch.autograd.Function):
    """Every ``rows``-th row and ``columns``-th column, and its gradient, both laid out as the whole image is.

    The gradient of a slice would lie in torch's default layout, which every layer before would have to turn around.
    """

    @staticmethod
    def forward(ctx: Any, whole: Tensor, rows: int, columns: int) -> Tensor:
        last = whole.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        ctx.shape, ctx.steps = whole.shape, (rows, columns)
        return whole[:, :, ::rows, ::columns].contiguous(memory_format=ctx.layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.steps
        whole = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.layout).zero_()
        whole[:, :, ::rows, ::columns] = gradient
        return whole, None, None


def _to_phases(x: Tensor, d: int) -> Tensor:
    """(N, C, H d, W d) to (N d d, C, H, W), channels last."""
    count, channels, high, wide = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(count, high // d, d, wide // d, d, channels).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(count * d * d, high // d, wide // d, channels).permute(0, 3, 1, 2)


def _from_phases(y: Tensor, d: int) -> Tensor:
    """(N d d, C, H, W) to (N, C, H d, W d), channels last."""
    count, channels, high, wide = y.shape
    cells = y.permute(0, 2, 3, 1).reshape(count // (d * d), d, d, high, wide, channels).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(count // (d * d), high * d, wide * d, channels).permute(0, 3, 1, 2)
