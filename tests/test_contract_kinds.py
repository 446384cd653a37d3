"""Kinds of layer, recognised by what is computed; not known where the following had ended."""

import functools
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from conftest import Lambda
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.analysis import analyse
from orchestrator.contract import check_contract, layer_kinds
from orchestrator.spec import Contract
from orchestrator.spec.experiment import Layer

SHAPE = (3, 16, 16)


def separable(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), *between, nn.Conv2d(6, 4, 1))


class Attending(nn.Module):
    """Positions attend to one another, as rows of a matrix."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(3, 1, dropout=dropout, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0]


KINDS: list[tuple[str, bool, nn.Module | Callable[[Tensor], Tensor]]] = [
    ("depthwise_separable", True, separable(nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1))),
    ("depthwise_separable", True, lambda x: F.conv2d(F.conv2d(x, torch.ones(3, 1, 1, 3), groups=3).permute(0, 2, 3, 1)
                                                     .permute(0, 3, 1, 2), torch.ones(2, 3, 1, 1))),
    ("depthwise_separable", True, nn.Sequential(nn.Conv2d(3, 3, 7, groups=3), Lambda(lambda x: x.permute(0, 2, 3, 1)),
                                                nn.LayerNorm(3), nn.Linear(3, 12))),
    ("depthwise_separable", True, separable(nn.ChannelShuffle(2))),
    ("depthwise_separable", True, nn.Sequential(nn.Conv2d(3, 3, 7, groups=3), Lambda(lambda x: x.permute(0, 2, 3, 1)),
                                                nn.Linear(3, 12))),
    ("depthwise_separable", False, separable(nn.AvgPool2d(2))),
    ("depthwise_separable", False, nn.Sequential(nn.Conv2d(3, 3, 1, groups=3), nn.Conv2d(3, 3, 1))),
    ("depthwise_separable", False, nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 3, 3))),
    ("depthwise_separable", False, nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Flatten(), nn.Linear(588, 2))),
    ("dilated", True, nn.Conv2d(3, 4, 3, dilation=2)),
    ("dilated", True, nn.Conv2d(3, 4, (1, 3), dilation=(1, 2))),
    ("dilated", False, nn.Conv2d(3, 4, (1, 3), dilation=(2, 1))),
    ("dilated", False, nn.Conv2d(3, 4, 1, dilation=2)),
    ("global_average_pooling", True, lambda x: x.mean((2, 3))),
    ("global_average_pooling", True, lambda x: x.mean(3).mean(2)),
    ("global_average_pooling", True, nn.AvgPool2d(16)),
    ("global_average_pooling", True, nn.AdaptiveAvgPool2d(1)),
    ("global_average_pooling", True, nn.AvgPool3d((1, 16, 16))),
    ("global_average_pooling", True, nn.AdaptiveAvgPool3d((3, 1, 1))),
    ("global_average_pooling", True, nn.Sequential(nn.ChannelShuffle(3), nn.AdaptiveAvgPool2d(1))),
    ("global_average_pooling", False, nn.AdaptiveMaxPool2d(1)),
    ("global_average_pooling", False, nn.AdaptiveAvgPool2d(2)),
    ("global_average_pooling", False, lambda x: x.mean(1)),
    ("global_average_pooling", False, lambda x: (x * x.mean((2, 3), keepdim=True)).flatten(1)),
    ("grouped", True, nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=4))),
    ("grouped", False, nn.Conv2d(3, 6, 3, groups=3)),
    ("residual", True, lambda x: x + F.conv2d(x, torch.ones(3, 3, 1, 1))),
    ("residual", True, lambda x: torch.add(F.avg_pool2d(x, 3, 1, 1), x)),
    ("residual", True, lambda x: F.relu(x).add_(F.max_pool2d(x, 3, 1, 1))),
    ("residual", True, lambda x: x - F.avg_pool2d(x, 3, 1, 1)),
    ("residual", True, lambda x: torch.rsub(x, F.avg_pool2d(x, 3, 1, 1))),
    ("residual", True, lambda x: torch.lerp(x, F.avg_pool2d(x, 3, 1, 1), 0.5)),
    ("residual", True, lambda x: torch.addcmul(x, F.avg_pool2d(x, 3, 1, 1), torch.ones(3, 1, 1))),
    ("residual", True, lambda x: torch.addcmul(x, torch.ones(3, 1, 1), F.avg_pool2d(x, 3, 1, 1))),
    ("residual", False, lambda x: x - x.mean((2, 3), keepdim=True)),
    ("residual", False, lambda x: torch.lerp(x, F.relu(x), 0.5)),
    ("residual", False, lambda x: torch.addcmul(torch.ones(3, 1, 1), x, F.avg_pool2d(x, 3, 1, 1))),
    ("residual", False, lambda x: x + 1),
    ("residual", False, lambda x: x + torch.ones_like(x)),
    ("residual", False, lambda x: 0.5 * x * (1 + torch.tanh(x + 0.044 * x**3))),
    ("concatenation", True, lambda x: torch.cat([x, F.relu(x)], 1)),
    ("concatenation", True, lambda x: torch.concat((x, x), dim=-3)),
    ("concatenation", False, lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)),
    ("concatenation", False, lambda x: torch.cat([x], 1)),
    ("max_pool", True, nn.MaxPool2d(2)),
    ("max_pool", True, nn.AdaptiveMaxPool2d(3)),
    ("max_pool", True, lambda x: F.max_pool2d(x, 2)),
    ("max_pool", True, lambda x: x.amax((2, 3))),
    ("max_pool", True, nn.MaxPool3d((1, 2, 2))),
    ("max_pool", True, nn.AdaptiveMaxPool3d((3, 4, 4))),
    ("max_pool", False, nn.AvgPool3d((1, 2, 2))),
    ("max_pool", False, lambda x: x.amax(1)),
    ("max_pool", False, lambda x: torch.max(x, 2 * x)),
    ("batch_norm", True, nn.BatchNorm2d(3)),
    ("batch_norm", False, nn.BatchNorm2d(3, track_running_stats=False)),
    ("batch_norm", False, nn.GroupNorm(1, 3)),
    ("batch_norm", False, nn.InstanceNorm2d(3)),
    ("dropout", True, nn.Dropout2d(0.1)),
    ("dropout", True, lambda x: F.dropout(x, 0.1, training=False)),
    ("dropout", True, nn.Sequential(nn.Flatten(2), nn.LSTM(256, 4, num_layers=2, dropout=0.5))),
    ("dropout", True, Attending(0.5)),
    ("dropout", False, Attending(0.0)),
    ("dropout", False, nn.Dropout(0.0)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "present", "network"), KINDS)
def test_kinds_are_recognised_by_what_is_computed(
    kind: str, present: bool, network: nn.Module | Callable[[Tensor], Tensor]
) -> None:
    wrapped = network if isinstance(network, nn.Module) else Lambda(network)
    assert layer_kinds(analyse(wrapped, SHAPE))[0][kind] is present


def smoothed(x: Tensor) -> Tensor:
    """An operation whose effect on positions is not known."""
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)


UNKNOWN: list[tuple[str, bool | None, Callable[[Tensor], Tensor]]] = [
    ("max_pool", None, lambda x: smoothed(x).amax((2, 3))),
    ("max_pool", None, lambda x: smoothed(x).max(3)[0].max(2)[0]),
    ("max_pool", True, lambda x: F.max_pool2d(smoothed(x), 2)),
    ("max_pool", False, lambda x: F.relu(smoothed(x)).sum((2, 3))),
    ("global_average_pooling", None, lambda x: F.adaptive_avg_pool2d(smoothed(x), 1)),
    ("global_average_pooling", None, lambda x: x.mean((2, 3), keepdim=True) * smoothed(x)),  # a gate's squeeze
    ("global_average_pooling", False, lambda x: smoothed(x).flatten(1)),
    ("depthwise_separable", None, lambda x: smoothed(F.conv2d(x, torch.ones(3, 1, 3, 3), groups=3))
                                            .permute(0, 2, 3, 1) @ torch.ones(3, 4)),
    ("depthwise_separable", True, lambda x: F.conv2d(smoothed(F.conv2d(x, torch.ones(3, 1, 3, 3), groups=3)),
                                                     torch.ones(4, 3, 1, 1))),
    ("concatenation", None, lambda x: torch.cat([smoothed(x).permute(0, 2, 3, 1)] * 2, 3)),
    ("concatenation", False, lambda x: torch.cat([smoothed(x).flatten(1)] * 2, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "present", "function"), UNKNOWN)
def test_where_following_has_ended_a_kind_is_not_said_to_be_absent(
    kind: str, present: bool | None, function: Callable[[Tensor], Tensor]
) -> None:
    analysis = analyse(Lambda(function), SHAPE)
    assert layer_kinds(analysis)[0][kind] is present
    for limits in ({"require": (kind,)}, {"forbid": (kind,)}):
        [check] = check_contract(analysis, Contract(**limits)).checks  # type: ignore[arg-type]
        assert check.value is present
        if present is None:
            assert not check.passed
            assert "is not known: _upsample_bilinear2d_aa" in check.format()


def test_every_kind_of_the_experiment_file_is_known() -> None:
    assert set(layer_kinds(analyse(nn.ReLU(), SHAPE))[0]) == set(get_args(Layer))
    assert {kind for kind, _, _ in KINDS} == set(get_args(Layer))


def shifted(x: Tensor) -> list[Tensor]:
    return [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]


def laid_out(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], 3, 16, 2, 16, 2)


MAXIMA: dict[str, Callable[[Tensor], Tensor]] = {
    "amax of blocks": lambda x: laid_out(x).amax((3, 5)),
    "max, one axis after the other": lambda x: laid_out(x).max(5).values.max(3).values,
    "maximum of shifted maps": lambda x: functools.reduce(torch.maximum, shifted(x)),
    "max of two tensors": lambda x: functools.reduce(torch.max, shifted(x)),
    "max of unfolded windows": lambda x: F.unfold(x, 2, stride=2).view(x.shape[0], 3, 4, 16, 16).max(2).values,
    "max_pool3d": lambda x: F.max_pool3d(x.unsqueeze(1), (1, 2, 2)).squeeze(1),
    "adaptive": lambda x: F.adaptive_max_pool2d(x, 4),
    "fractional": lambda x: F.fractional_max_pool2d(x, 2, output_size=8),
    "over everything": lambda x: x.amax((2, 3), keepdim=True),
    "topk": lambda x: laid_out(x).permute(0, 1, 2, 4, 3, 5).flatten(4).topk(1, -1).values.squeeze(-1),
    "sort": lambda x: laid_out(x).permute(0, 1, 2, 4, 3, 5).flatten(4).sort(-1).values[..., -1],
    "the least of the negative": lambda x: -laid_out(-x).amin((3, 5)),
}
NO_MAXIMA: dict[str, Callable[[Tensor], Tensor]] = {
    "of channels": lambda x: x.repeat(1, 2, 1, 1).reshape(x.shape[0], 3, 2, 32, 32).amax(2),
    "of two maps at each place": lambda x: torch.maximum(x, 2 * x),
    "of the batch": lambda x: x - x.amax(0, keepdim=True),
    "with a number": lambda x: x.clamp(0, 6),
    "by a condition at each place": lambda x: torch.where(x > 0, x, 0.1 * x),
    "average": lambda x: F.avg_pool2d(x, 2),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_max_pooling_is_recognised_by_what_it_does(name: str) -> None:
    result = check_contract(analyse(Lambda(MAXIMA[name]), (3, 32, 32)), Contract(forbid=("max_pool",)))
    assert result.checks[0].value is True
    assert not result.passed


@pytest.mark.parametrize("name", NO_MAXIMA)
def test_a_maximum_at_one_place_is_no_pooling(name: str) -> None:
    assert layer_kinds(analyse(Lambda(NO_MAXIMA[name]), (3, 32, 32)))[0]["max_pool"] is False


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x[..., ::2] > x[..., 1::2], x[..., ::2], x[..., 1::2]),
        lambda x: torch.from_numpy(x.detach().numpy().reshape(x.shape[0], 3, 16, 2, 16, 2).max((3, 5))),
    ],
)
def test_what_may_be_max_pooling_does_not_pass_and_says_why(function: Callable[[Tensor], Tensor]) -> None:
    [check] = check_contract(analyse(Lambda(function), (3, 32, 32)), Contract(forbid=("max_pool",))).checks
    assert check.value is None
    assert not check.passed
    assert check.reason


HIDDEN: dict[str, Callable[[Tensor], Tensor]] = {
    "clamp": lambda x: torch.clamp(x[..., ::2], min=x[..., 1::2]),
    "infinite norm": lambda x: torch.linalg.vector_norm(F.relu(x), torch.inf, (2, 3)),
    "stacked": lambda x: torch.stack(shifted(x)).amax(0),
    "joined": lambda x: torch.cat([part.unsqueeze(2) for part in shifted(x)], 2).amax(2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2).view(x.shape[0], 3, 4, 16, 16).amax(2),
    "rectified difference": lambda x: x[..., ::2] + F.relu(x[..., 1::2] - x[..., ::2]),
    "scattered": lambda x: torch.zeros(x.shape).scatter_reduce(2, torch.zeros(x.shape, dtype=torch.long), x, "amax"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_hides_that_positions_are_compared_does_not_pass(name: str) -> None:
    [check] = check_contract(analyse(Lambda(HIDDEN[name]), (3, 32, 32)), Contract(forbid=("max_pool",))).checks
    assert check.value is not False
    assert not check.passed


def test_a_figure_of_the_whole_map_has_no_place() -> None:
    network = Lambda(lambda x: torch.maximum(x, x.mean((2, 3), keepdim=True)))
    assert layer_kinds(analyse(network, SHAPE))[0]["max_pool"] is False


@torch.library.custom_op("contract_test::hidden", mutates_args=())
def hidden(x: Tensor) -> Tensor:
    """An operation of a user's own, of which only the result is seen."""
    return F.max_pool2d(x, 2)


@hidden.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(len(x), x.shape[1], x.shape[2] // 2, x.shape[3] // 2)


@torch.fx.wrap
def by_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy().reshape(len(x), 3, 8, 2, 8, 2).max((3, 5)))


@pytest.mark.parametrize(("function", "reason"), [(hidden, "contract_test::hidden"), (by_numpy, "numpy")])
def test_behind_what_cannot_be_seen_every_kind_is_unknown(function: Callable[[Tensor], Tensor], reason: str) -> None:
    analysis = analyse(Lambda(function), SHAPE)
    assert set(layer_kinds(analysis)[0].values()) == {None}
    [check] = check_contract(analysis, Contract(forbid=("dropout",))).checks
    assert not check.passed
    assert reason in check.reason


@pytest.mark.parametrize(
    "pools", ["self.training", "torch.is_grad_enabled()", "x.shape[0] > 8", "self.training and len(x) > 4"]
)
def test_max_pooling_in_training_alone_is_recognised(pools: str) -> None:
    class Deceiving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            pool = F.max_pool2d if eval(pools, {"torch": torch, "self": self, "x": x}) else F.avg_pool2d
            return self.head(pool(self.first(x), 2).mean((2, 3)))

    network = Deceiving()
    assert layer_kinds(analyse(network, (3, 16, 16)))[0]["max_pool"] is True
    assert network.training
