"""The receptive field against two oracles: where the gradient of one unit reaches, and figures known from the field."""

from collections.abc import Callable

import pytest
import torch
from conftest import Lambda
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.analysis import analyse
from orchestrator.analysis.field import Field
from orchestrator.analysis.trace import trace
from orchestrator.architectures import VARIANTS, build_network

SIZE = (112, 96)  # large enough that fields of the networks drawn here stay inside
MARGIN = 24  # pixels from the border, so that no padding is seen on the way
CHANNELS = 4


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    groups = draw(st.sampled_from([1, 2, 4]))
    geometry = [draw(pairs(low, high)) for low, high in ((1, 4), (1, 2), (0, 2), (1, 3))]
    return nn.Conv2d(CHANNELS, CHANNELS, *geometry, groups=groups)


@st.composite
def transposed(draw: st.DrawFn) -> nn.Module:
    kernel, stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(1, 2))
    assume(all(d * (k - 1) + 1 >= s and (d == 1 or s == 1) for k, s, d in zip(kernel, stride, dilation, strict=True)))
    return nn.ConvTranspose2d(CHANNELS, CHANNELS, kernel, stride, draw(pairs(0, 1)), dilation=dilation)


@st.composite
def poolings(draw: st.DrawFn) -> nn.Module:
    kernel = draw(pairs(1, 3))
    if draw(st.booleans()):
        return nn.LPPool2d(2, kernel, stride=draw(st.sampled_from([None, 1, 2])))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return nn.AvgPool2d(kernel, draw(pairs(1, 2)), padding)


@st.composite
def same_size(draw: st.DrawFn) -> nn.Module:
    """A convolution that keeps the map's size."""
    kernel, dilation = draw(st.tuples(*[st.sampled_from([1, 3, 5])] * 2)), draw(pairs(1, 2))
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, padding="same", dilation=dilation)


def resampling() -> st.SearchStrategy[nn.Module]:
    """Each with its channels mixed again: the figure of a map is the union over its channels."""
    drawn = st.sampled_from(
        [
            nn.Upsample(scale_factor=2),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Upsample(scale_factor=3, mode="nearest-exact"),
            nn.Upsample(scale_factor=(1, 2), mode="bicubic"),
            Lambda(lambda x: F.pixel_shuffle(x, 2).repeat(1, 4, 1, 1)),
            Lambda(lambda x: F.pixel_unshuffle(x[:, :1], 2)),
            Lambda(space_to_depth),
            Lambda(depth_to_space),
            nn.ChannelShuffle(2),
            Lambda(lambda x: x.repeat_interleave(2, dim=3)[:, [3, 1, 0, 2]]),
            Lambda(lambda x: x[:, :, 1::2, ::3]),
            Lambda(lambda x: x.flip(3)[..., 1:-2]),
            Lambda(lambda x: F.pad(x, (1, 0, 2, 3))),
            Lambda(lambda x: x.permute(0, 2, 3, 1).softmax(-1).permute(0, 3, 1, 2)),
            Lambda(lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] * 2 // 3, x.shape[3] // 2))),
            Lambda(lambda x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)),
        ]
    )
    return drawn.map(lambda layer: nn.Sequential(layer, nn.Conv2d(CHANNELS, CHANNELS, 1)))


def space_to_depth(x: Tensor) -> Tensor:
    """As einops would do it: 2 x 2 blocks of one channel become channels."""
    n, _, height, width = x.shape
    x = x[:, :1, : height // 2 * 2, : width // 2 * 2].contiguous()
    return x.view(n, 1, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4, height // 2, width // 2)


def depth_to_space(x: Tensor) -> Tensor:
    """The other way round."""
    n, _, height, width = x.shape
    x = x.view(n, 1, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, 1, height * 2, width * 2).expand(-1, 4, -1, -1)


def layers() -> st.SearchStrategy[nn.Module]:
    joined = st.builds(Branches, same_size(), same_size()).map(lambda b: nn.Sequential(b, nn.Conv2d(8, CHANNELS, 1)))
    return st.one_of(
        convolutions(), transposed(), poolings(), resampling(), same_size().map(Residual), joined,
        st.lists(same_size(), min_size=1, max_size=2).map(lambda inner: Residual(nn.Sequential(*inner))),
    )  # fmt: skip


def networks() -> st.SearchStrategy[nn.Module]:
    return st.lists(layers(), min_size=1, max_size=4).map(
        lambda drawn: nn.Sequential(nn.Conv2d(3, CHANNELS, 1), *drawn, nn.Softplus())
    )


def reached(network: nn.Module, shape: tuple[int, int], unit: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last row and column of the picture on which the unit depends, by autograd."""
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.1, 1.0)
    x = torch.rand(1, 3, *shape, dtype=torch.float64).add_(0.1).requires_grad_()
    network(x)[0, :, unit[0], unit[1]].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return [(int(along.min()), int(along.max())) for along in (rows, columns)]


def predicted(field: Field, axis: int, unit: int) -> tuple[int, int]:
    """What the unit sees by the map's field."""
    low, high = (bound.flatten() for bound in field.bounds(axis))
    return int(low[unit]), int(high[unit])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(network=networks(), beside=st.integers(-2, 2))
def test_exactly_the_pixels_that_the_gradient_reaches(network: nn.Module, beside: int) -> None:
    torch.manual_seed(0)
    try:
        height, width = network(torch.zeros(1, 3, *SIZE)).shape[2:]
    except RuntimeError:  # a map became too small for a window
        assume(False)
    assume(height > 4 and width > 4)
    found = trace(network, (3, *SIZE))
    assert found.traced_by == "torch.fx"
    seen_by = found.output.field
    assert isinstance(seen_by, Field), seen_by
    unit = (height // 2 + beside, width // 2 + beside)
    seen = [predicted(seen_by, axis, unit[axis]) for axis in (0, 1)]
    assume(all(low >= MARGIN and high < SIZE[axis] - MARGIN for axis, (low, high) in enumerate(seen)))
    assert reached(network, SIZE, unit) == seen
    sizes = [high - low + 1 for low, high in seen]
    field = analyse(network, (3, *SIZE)).receptive_field.output
    assert all(size <= f for size, f in zip(sizes, (field,) * 2 if isinstance(field, int) else field, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_figures_do_not_depend_on_the_pictures_border(variant: str) -> None:
    """Before pooling, the field is a property of the layers: a larger picture gives the same."""
    small, large = (analyse(build_network(variant), shape) for shape in ((3, 32, 32), (3, 64, 96)))
    convolutions = [row for row in small.layers if row.type == "Conv2d" and row.block not in ("output", "pool")]
    fields = {row.name: (row.receptive_field, row.jump) for row in large.layers}
    assert convolutions[-1].receptive_field == VARIANTS[variant].features
    assert all(fields[row.name] == (row.receptive_field, row.jump) for row in convolutions)


def conv(kernel: int = 3, stride: int = 1, inputs: int = 4) -> nn.Module:
    return nn.Conv2d(inputs, 4, kernel, stride, kernel // 2)


def head(pool: Callable[[Tensor], Tensor]) -> nn.Module:
    """Sees 7 pixels with jump 2 on an 8 x 8 map of a 16 x 16 picture, so 21 after global pooling."""
    return nn.Sequential(conv(inputs=3), conv(stride=2), nn.Conv2d(4, 4, (1, 1)), Lambda(pool))


@pytest.mark.parametrize(
    "pool",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d(1),
        nn.AvgPool2d(8),
        nn.MaxPool2d(8),
        nn.AvgPool3d((1, 8, 8)),
        nn.MaxPool3d((1, 8, 8)),
        nn.AdaptiveAvgPool3d((4, 1, 1)),
        nn.AdaptiveMaxPool3d((2, 1, 1)),
        nn.LPPool2d(2, 8),
        lambda x: x.mean((2, 3)),
        lambda x: x.mean([-2, -1], keepdim=True),
        lambda x: x.mean(3).mean(2),
        lambda x: x.mean(2, keepdim=True).mean(3, keepdim=True),
        lambda x: x.flatten(2).mean(-1),
        lambda x: x.amax(dim=(2, 3)),
        lambda x: torch.amax(torch.amax(x, -1), -1),
        lambda x: x.sum((2, 3)) / 64,
        lambda x: F.adaptive_avg_pool2d(x, (1, 1)).flatten(1),
        lambda x: F.avg_pool2d(x, x.size(2)).view(x.size(0), -1),
        lambda x: torch.einsum("bchw->bc", x),
        lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
    ],
)
def test_global_pooling_in_all_its_spellings(pool: Callable[[Tensor], Tensor]) -> None:
    field = analyse(head(pool), (3, 16, 16)).receptive_field
    assert (field.features, field.output) == (5, 19)


@pytest.mark.parametrize(
    ("network", "features", "output"),
    [
        pytest.param(nn.Sequential(conv(inputs=3), nn.Flatten(), nn.Linear(4 * 256, 10)), 3, 18, id="flatten"),
        pytest.param(nn.Sequential(conv(inputs=3), Lambda(lambda x: x * x.mean((2, 3), True))), 18, 18, id="gating"),
        pytest.param(
            nn.Sequential(conv(inputs=3), Lambda(lambda x: x.permute(0, 2, 3, 1)), nn.LayerNorm(4), nn.Linear(4, 8),
                          Lambda(lambda x: x.permute(0, 3, 1, 2))), 3, 3, id="channels last"),
        pytest.param(
            nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(2), Lambda(lambda x: x.transpose(1, 2)),
                          nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), 4, 16, id="attention"),
        pytest.param(nn.Sequential(nn.Conv2d(3, 4, (1, 5), padding=(0, 2)), conv()), (3, 7), (3, 7), id="not square"),
        pytest.param(nn.Sequential(conv(7, 4, 3), conv(3, 4), conv(3, 4), conv(3)), 7 + 8 + 32 + 128, 175, id="1 x 1"),
        pytest.param(nn.Conv2d(3, 4, 1), 1, 1, id="pointwise"),
        pytest.param(nn.Sequential(conv(inputs=3), Lambda(lambda x: torch.max(*x.chunk(2, 1)))), 3, 3, id="maxout"),
        pytest.param(nn.Sequential(conv(inputs=3), Lambda(lambda x: torch.rsub(x, F.relu(x)))), 3, 3, id="rsub"),
        pytest.param(nn.Sequential(conv(inputs=3), nn.GroupNorm(2, 4), conv()), 5, 5, id="group norm"),
    ],
)  # fmt: skip
def test_figures_by_hand(network: nn.Module, features: object, output: object) -> None:
    field = analyse(network, (3, 16, 16)).receptive_field
    assert (field.features, field.output) == (features, output)


@pytest.mark.parametrize(
    ("function", "word"),
    [(lambda x: torch.fft.fft2(x).abs(), "fft"),
     (lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False), "grid_sampler"),
     (lambda x: F.avg_pool2d(torch.roll(x, 1, 2), 3), "rearranged"),
     (lambda x: F.avg_pool2d(torch.cat([x, x[:, :, :5]], 2), 3), "rearranged"),
     (lambda x: F.avg_pool2d(torch.roll(x, 1, 2)[:, :, 5:6], 3, 3, 1), "one position"),
     (lambda x: x.gather(2, x.argmax(2, keepdim=True)), "gather: which positions")],
)  # fmt: skip
def test_what_is_not_known_is_none_with_its_reason(function: Callable[[Tensor], Tensor], word: str) -> None:
    field = analyse(nn.Sequential(conv(inputs=3), Lambda(function)), (3, 16, 16)).receptive_field
    assert field.output is None
    assert word in field.reason


@pytest.mark.parametrize("function", [lambda x: torch.roll(x, 1, 2), lambda x: torch.cat([x, x], 2)])
def test_units_that_are_moved_see_what_they_saw(function: Callable[[Tensor], Tensor]) -> None:
    field = analyse(nn.Sequential(conv(inputs=3), Lambda(function)), (3, 16, 16)).receptive_field
    assert (field.features, field.output) == (3, 3)


@pytest.mark.parametrize("normalisation", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((4, 16, 16))])
def test_normalisation_over_positions_is_left_out_and_noted(normalisation: nn.Module) -> None:
    analysis = analyse(nn.Sequential(conv(inputs=3), normalisation, conv()), (3, 16, 16))
    assert analysis.receptive_field.output == 5
    assert "normalisation over positions is not counted" in analysis.notes[0]


class Picking(nn.Module):
    """Picks channels by an index tensor, on the meta device: torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = conv(inputs=3), conv()
        self.register_buffer("order", torch.tensor([3, 1, 2, 0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        while x.shape[1] > 4:
            x = x[:, 1:]
        return self.last(x[:, self.order].index_select(1, self.order))


def test_picking_channels_needs_no_values() -> None:
    analysis = analyse(Picking(), (3, 16, 16))
    assert (analysis.traced_by, analysis.receptive_field.output) == ("hooks", 5)


def test_figures_are_the_same_after_a_training() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2.0, mode="bilinear"), nn.Conv2d(4, 4, 3))
    before = analyse(network, (3, 16, 16)).receptive_field
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")  # as a training sets it
    try:
        assert analyse(network, (3, 16, 16)).receptive_field == before
        assert torch.get_deterministic_debug_mode() == 1
    finally:
        torch.set_deterministic_debug_mode(mode)
    assert before.output is not None


def test_a_part_changed_in_place_is_not_guessed_at() -> None:
    def shift(x: Tensor) -> Tensor:
        moved = torch.zeros_like(x)
        moved[:, :, 1:] = x[:, :, :-1]
        return moved

    field = analyse(nn.Sequential(conv(inputs=3), Lambda(shift)), (3, 16, 16)).receptive_field
    assert field.output is None
    assert "in place" in field.reason


class IntoThePicture(nn.Module):
    """Writes what a wide convolution sees into a channel of its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.last = nn.Conv2d(3, 3, 7, padding=3), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x[:, :1] = self.wide(x)[:, :1]
        return self.last(x)


def test_a_picture_changed_in_place_is_not_guessed_at() -> None:
    field = analyse(IntoThePicture(), (3, 16, 16)).receptive_field
    assert (field.features, field.output) == (None, None)
    assert "in place" in field.reason
