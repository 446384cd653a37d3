"""Receptive fields of networks as people write them, held against the gradient of a unit in the middle."""

from collections.abc import Callable

import pytest
import torch
from conftest import Lambda
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.analysis import analyse
from orchestrator.analysis.field import Field
from orchestrator.analysis.trace import trace

SHAPE = (3, 64, 48)


def conv(inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1, **settings: int) -> nn.Module:
    padding = settings.pop("padding", None)
    around = tuple(k // 2 for k in kernel) if isinstance(kernel, tuple) else kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, around if padding is None else padding, **settings)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.Softplus())


class StridedResidual(nn.Module):
    """A residual block with a strided convolution as its shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.main = nn.Sequential(conv(4, 8, stride=2), conv(8, 8))
        self.shortcut = nn.Conv2d(4, 8, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return F.softplus(self.main(x) + self.shortcut(x))


class Inception(nn.Module):
    """Branches with kernels of 1, 3, 5 and 1 x 7, and a pooling branch, joined along channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv(3, 4, 1), nn.Sequential(conv(3, 4, 1), conv(4, 4, 3)), conv(3, 4, 5), conv(3, 4, (1, 7)),
             nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(3, 4, 1))]
        )  # fmt: skip
        self.last = conv(20, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([branch(x) for branch in self.branches], 1))


class Aspp(nn.Module):
    """Parallel dilated convolutions and image pooling, as in DeepLab; ``pooled`` leaves the latter out."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.stem = conv(3, 4, 3, 2)
        self.branches = nn.ModuleList([conv(4, 4, 1), *(conv(4, 4, 3, padding=d, dilation=d) for d in (2, 4))])
        self.pooled = nn.Conv2d(4, 4, 1) if pooled else None
        self.project = nn.Conv2d(16 if pooled else 12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        found = [branch(x) for branch in self.branches]
        if self.pooled is not None:
            whole = F.softplus(self.pooled(F.adaptive_avg_pool2d(x, 1)))
            found.append(F.interpolate(whole, size=x.shape[2:], mode="bilinear", align_corners=False))
        return self.project(torch.cat(found, 1))


class UNet(nn.Module):
    """Two levels; up by transposed convolutions or by interpolation to the skip's size."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.one, self.two, self.three = conv(3, 4), conv(4, 4), conv(4, 4)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(4, 4, 2, 2) for _ in range(2)) if transposed else None
        self.right_two, self.right_one = conv(8, 4), conv(8, 4)

    def up(self, x: Tensor, skip: Tensor, level: int) -> Tensor:
        x = F.interpolate(x, size=skip.shape[2:], mode="nearest") if self.ups is None else self.ups[level](x)
        return torch.cat([skip, x], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(F.avg_pool2d(one, 2, ceil_mode=True))
        three = self.three(F.avg_pool2d(two, 2, ceil_mode=True))
        two = self.right_two(self.up(three, two, 0))
        return self.right_one(self.up(two, one, 1))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.reduce, self.expand = conv(3, 8, 3, 2), nn.Linear(8, 2), nn.Linear(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.expand(F.softplus(self.reduce(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class SelfAttention(nn.Module):
    """Non-local attention: every position attends to all, by einsum or by matmul."""

    def __init__(self, einsum: bool) -> None:
        super().__init__()
        self.stem, self.qkv, self.einsum = conv(3, 4, 3, 4), nn.Conv2d(4, 12, 1), einsum

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        if self.einsum:
            mixed = torch.einsum("bcm,bnm->bcn", v, torch.einsum("bcn,bcm->bnm", q, k).softmax(-1))
        else:
            mixed = v @ (q.transpose(1, 2) @ k).softmax(-1).transpose(1, 2)
        return x + mixed.view_as(x)


class Transformer(nn.Module):
    """Patches, a class token, position embedding and nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 13, 8))
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1) + self.position
        tokens = self.norm(tokens)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return tokens[:, 0]


class ConvNext(nn.Module):
    """Depthwise convolution, then layer normalisation and linear layers with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class Twice(nn.Module):
    """One module used three times, and a convolution by a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = conv(3, 4), conv(4, 4)
        self.weight = nn.Parameter(torch.rand(4, 1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = self.shared(x)
        return F.conv2d(x, self.weight, stride=(1, 2), padding=(0, 2), groups=4)


class Shuffle(nn.Module):
    """A channel shuffle between grouped convolutions, as in ShuffleNet, written with view and transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = conv(3, 8), nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        self.second = nn.Conv2d(8, 8, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        n, c, h, w = x.shape
        return self.second(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class UntilSmall(nn.Module):
    """Control flow on shapes, which torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = conv(3, 4), conv(4, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        while min(x.shape[2:]) > 14:
            x = self.shared(x)
        return x


def focus(x: Tensor) -> Tensor:
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


def axial(x: Tensor) -> Tensor:
    """Attention along rows only."""
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h, w, c)
    rows = (rows @ rows.transpose(1, 2)).softmax(-1) @ rows
    return rows.view(n, h, w, c).permute(0, 3, 1, 2)


def windows(x: Tensor) -> Tensor:
    """Attention inside windows of 4 x 4, as in a Swin Transformer before its windows move."""
    n, c, h, w = x.shape
    x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    x = F.scaled_dot_product_attention(x, x, x)
    return x.view(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


def chain(*layers: nn.Module | Callable[[Tensor], Tensor]) -> nn.Module:
    return nn.Sequential(*(layer if isinstance(layer, nn.Module) else Lambda(layer) for layer in layers))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "strided residual": StridedResidual,
    "inception": Inception,
    "aspp": lambda: Aspp(False),
    "aspp with image pooling": lambda: Aspp(True),
    "u-net, transposed": lambda: UNet(True),
    "u-net, interpolated": lambda: UNet(False),
    "squeeze and excite": SqueezeExcite,
    "attention by einsum": lambda: SelfAttention(True),
    "attention by matmul": lambda: SelfAttention(False),
    "axial attention": lambda: chain(conv(3, 4, 3, 4), axial),
    "window attention": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), windows),
    "transformer": Transformer,
    "convnext": ConvNext,
    "module used thrice": Twice,
    "channel shuffle": Shuffle,
    "control flow on shapes": UntilSmall,
    "depthwise separable": lambda: chain(conv(3, 6), conv(6, 6, 5, 2, groups=6), conv(6, 4, 1), conv(4, 4)),
    "space to depth by slices": lambda: chain(conv(3, 4), focus, conv(16, 4), conv(4, 4)),
    "one slice of four": lambda: chain(conv(3, 4), lambda x: x[:, :, ::2, ::2], conv(4, 4)),
    "pixel unshuffle": lambda: chain(conv(3, 2), nn.PixelUnshuffle(2), conv(8, 4), conv(4, 4)),
    "pixel unshuffle last": lambda: chain(conv(3, 2), nn.PixelUnshuffle(2)),
    "pixel shuffle": lambda: chain(conv(3, 4, 3, 2), nn.PixelShuffle(2), conv(1, 4), conv(4, 4)),
    "uneven padding": lambda: chain(conv(3, 4), lambda x: F.pad(x, (2, 0, 1, 3)), nn.Conv2d(4, 4, 4, 2), conv(4, 4)),
    "reflected padding": lambda: chain(nn.ReflectionPad2d(2), nn.Conv2d(3, 4, 5), conv(4, 4)),
    "cropped skip": lambda: chain(nn.Conv2d(3, 4, 1), lambda x: F.avg_pool2d(x, 5, 1) + x[..., 2:-2, 2:-2]),
    "roll": lambda: chain(conv(3, 4), lambda x: x.roll((1, 2), (2, 3))),
    "permuted": lambda: chain(conv(3, 4, (1, 5)), lambda x: x.transpose(2, 3), conv(4, 4, (1, 3)), conv(4, 4)),
    "adaptive pooling to 2 x 2": lambda: chain(conv(3, 4, 3, 2), nn.AdaptiveAvgPool2d(2)),
    "adaptive pooling, uneven": lambda: chain(conv(3, 4, 3, 2), nn.AdaptiveAvgPool2d((13, 7)), conv(4, 4)),
    "average pooling": lambda: chain(conv(3, 4), nn.AvgPool2d(3, 2, 1, count_include_pad=False), conv(4, 4)),
    "ceil mode": lambda: chain(conv(3, 4), nn.AvgPool2d(3, 2, ceil_mode=True), conv(4, 4), nn.AvgPool2d(2)),
    "upsample": lambda: chain(conv(3, 4, 3, 2), nn.Upsample(scale_factor=2, mode="bilinear"), conv(4, 4)),
    "upsample with aligned corners": lambda: chain(
        conv(3, 4, 3, 4), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), conv(4, 4)
    ),
    "transposed": lambda: chain(conv(3, 4, 3, 2), nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1), conv(4, 4)),
    "softmax over channels": lambda: chain(conv(3, 4), nn.Softmax(1), conv(4, 4)),
    "softmax over space": lambda: chain(conv(3, 4, 3, 2), lambda x: x.flatten(2).softmax(-1).view(x.shape)),
    "flatten and linear": lambda: chain(conv(3, 4, 3, 4), nn.Flatten(), nn.Linear(4 * 16 * 12, 5)),
    "linear along the width": lambda: chain(conv(3, 4), nn.Linear(48, 6), conv(4, 4, (3, 1))),
    "mean over space": lambda: chain(conv(3, 4, 3, 2), lambda x: x.mean([2, 3])),
    "mean over the height": lambda: chain(conv(3, 4, 3, 2), lambda x: x.mean(2, keepdim=True), conv(4, 4)),
    "unfold": lambda: chain(
        nn.Conv2d(3, 2, 1), lambda x: F.unfold(x, 3, padding=1).view(len(x), 18, *x.shape[2:]), conv(18, 4)
    ),
    "strided blocks": lambda: chain(conv(3, 4), lambda x: x.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)), conv(4, 4)),
    "index of positions": lambda: chain(conv(3, 4), lambda x: x[:, :, torch.arange(0, 64, 2)], conv(4, 4)),
    "gated linear unit": lambda: chain(conv(3, 8), nn.GLU(1), conv(4, 4)),
    "tiled": lambda: chain(conv(3, 4, 3, 4), lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), conv(4, 4)),
}  # fmt: skip


def reached(network: nn.Module) -> list[tuple[int, int] | None]:
    """First and last row and column of the image on which the unit in the middle depends, by autograd."""
    network = network.eval().double()
    x = torch.rand(1, *SHAPE, dtype=torch.float64).add_(0.1).requires_grad_()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.1, 1.0).mul_(0.5)
    y = network(x)
    middle = [n // 2 for n in y.shape[2:]] if y.dim() == 4 else []
    unit = y[(0, slice(None), *middle)]
    (gradient,) = torch.autograd.grad((unit * torch.rand_like(unit)).sum(), x)
    seen = gradient[0].abs().sum(0) > 0
    return [(int(along.min()), int(along.max())) for along in (seen.any(1).nonzero(), seen.any(0).nonzero())]


def clipped(field: Field, axis: int, shape: tuple[int, ...]) -> tuple[int, int]:
    low, high = field.bounds(axis)
    at = tuple(
        n // 2 if len(shape) == 4 and dim > 1 and m > 1 else 0
        for dim, (n, m) in enumerate(zip(shape, low.shape, strict=True))
    )
    return max(0, int(low[at])), min(SHAPE[1 + axis] - 1, int(high[at]))


@pytest.mark.parametrize("name", NETWORKS)
def test_exactly_the_pixels_that_the_gradient_reaches(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    found = trace(network, SHAPE)
    assert found.output is not None
    field = found.output.field
    assert isinstance(field, Field), field
    assert [clipped(field, axis, found.output_shape) for axis in (0, 1)] == reached(network)
    assert analyse(network, SHAPE).receptive_field.output is not None


class Token(nn.Module):
    """A class token read before or after attention, with a head of its own."""

    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.body, self.head, self.attends = Transformer(), nn.Linear(8, 10), attends

    def forward(self, x: Tensor) -> Tensor:
        if self.attends:
            return self.head(self.body(x))
        tokens = self.body.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.body.token.expand(tokens.shape[0], -1, -1), tokens], 1)
        return self.head(tokens[:, 0])


def test_a_class_token_sees_what_it_attends_to() -> None:
    assert analyse(Token(attends=True), SHAPE).receptive_field.output == (64, 48)
    alone = analyse(Token(attends=False), SHAPE).receptive_field
    assert (alone.output, alone.reason) == (None, "its output does not depend on the image")
