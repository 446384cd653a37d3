"""Kinds of layer, recognised by what is computed; not known where the following had ended."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from conftest import Lambda
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.contract import analyse, check_contract
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
    assert analyse(wrapped, SHAPE).kinds[kind] is present


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
    assert analysis.kinds[kind] is present
    for limits in ({"require": (kind,)}, {"forbid": (kind,)}):
        [check] = check_contract(analysis, Contract(**limits)).checks  # type: ignore[arg-type]
        assert check.value is present
        if present is None:
            assert not check.passed
            assert "is not known: _upsample_bilinear2d_aa" in check.in_words()


def test_every_kind_of_the_experiment_file_is_known() -> None:
    assert set(analyse(nn.ReLU(), SHAPE).kinds) == set(get_args(Layer))
    assert {kind for kind, _, _ in KINDS} == set(get_args(Layer))
