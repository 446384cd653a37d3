"""Layers, MACs, and what happens where torch.fx cannot go."""

import dataclasses
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.analysis import analyse
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.contract import check_contract, layer_kinds
from orchestrator.spec import Contract

SHAPE = (3, 16, 16)


class Functional(nn.Module):
    """Written with functions throughout, as many people do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.shared = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.query, self.key = nn.Linear(8, 4), nn.Linear(8, 4)
        self.up = nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.weight, stride=2, padding=1))
        x = torch.cat([self.shared(x), self.shared(x) + x], dim=1)
        left, right = x.chunk(2, dim=1)
        tokens = (left * right).flatten(2).transpose(1, 2)
        weights = torch.softmax(self.query(tokens) @ self.key(tokens).transpose(1, 2), dim=-1)
        mixed = torch.einsum("bnm,bmc->bcn", weights, tokens).view(x.shape[0], 8, *x.shape[2:])
        mixed = mixed + F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(mixed.shape)
        x = F.dropout(self.up(mixed), 0.2, training=self.training)
        return F.log_softmax(x.mean((2, 3)), dim=1)


class ShapeFlow(nn.Module):
    """Control flow that depends on shapes only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        while x.shape[-1] > 4:
            x = F.avg_pool2d(x, 2)
        return self.head(x.mean((2, 3)))


class ValueFlow(ShapeFlow):
    """Control flow that depends on the picture."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.mean() > 0:
            x = x + 1
        return self.head(x.mean((2, 3)))


def counted(network: nn.Module, shape: tuple[int, ...]) -> float:
    """torch's own counter; it counts a multiply-accumulate as two operations."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, *shape))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 48, 64)])
def test_macs_are_those_of_torchs_counter(variant: str, shape: tuple[int, int, int]) -> None:
    network = build_network(variant)
    analysis = analyse(network, shape)
    assert analysis.macs == counted(network, shape)
    assert analysis.macs == sum(row.macs for row in analysis.layers)


def test_macs_of_functions_attention_and_transposed_convolutions() -> None:
    network = Functional()
    assert analyse(network, SHAPE).macs == counted(network, SHAPE)


class ThroughAView(nn.Module):
    """Writes its map through a view of a buffer, all of it or only once more, and goes on with the buffer."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice = twice
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        buffer = y.new_zeros(y.shape)
        turned = buffer.permute(0, 2, 3, 1)
        if self.twice:
            buffer.copy_(y)
        turned.copy_(y.permute(0, 2, 3, 1).flip(2))
        return self.second(buffer).amax((2, 3))


@pytest.mark.parametrize("twice", [False, True])
def test_what_is_computed_from_a_buffer_written_through_a_view_counts(twice: bool) -> None:
    network = ThroughAView(twice)
    analysis = analyse(network, SHAPE)
    assert analysis.macs == counted(network, SHAPE)
    assert layer_kinds(analysis)[0]["grouped"] is True
    assert analysis.receptive_field.output is None
    assert "in place" in analysis.receptive_field.reason


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_not_touched(variant: str) -> None:
    network = build_network(variant).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    analyse(network, (3, 32, 32))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad and p.device.type == "cpu" for p in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_and_parameters_are_those_of_the_forward_pass(variant: str) -> None:
    network = build_network(variant).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, i, o, name=name: shapes.__setitem__(name, tuple(o.shape[1:])))
    network(torch.zeros(1, 3, 32, 32))
    analysis = analyse(network, (3, 32, 32))
    modules = [row for row in analysis.layers if row.name in shapes]
    assert all(row.output_shape == shapes[row.name] for row in modules)
    assert {row.name for row in modules} == {n for n, m in network.named_modules() if not list(m.children())}
    assert sum(row.parameters for row in analysis.layers) == analysis.parameters
    last = {row.block: row.output_shape for row in analysis.layers if row.block}
    assert last == {name: shapes[name] for name, _ in network.named_children()}


def test_rows_of_functions_know_what_feeds_them() -> None:
    rows = analyse(build_network("grouped_concat"), (3, 32, 32)).layers
    assert [row.type for row in rows if not row.block] == ["cat", "add", "mean"]
    feeds = {row.name: row.inputs for row in rows}
    assert feeds["c1.0"] == ("input",)
    assert feeds["cat"] == ("c2_left.2.3", "c2_right.2.3")
    assert feeds["add"] == ("c4.3", "c4_residual.3")


def test_a_module_called_twice_has_two_rows_and_counts_once() -> None:
    analysis = analyse(Functional(), SHAPE)
    assert [row.parameters for row in analysis.layers if row.name == "shared"] == [8 * 4 * 9 + 8, 0]
    assert analysis.parameters == sum(p.numel() for p in Functional().parameters())


def test_geometry_of_a_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, (3, 5), (1, 2), (0, 1), (2, 1), groups=3), nn.MaxPool2d(3, 2, 1))
    rows = analyse(network, (3, 32, 32)).layers
    first, second = (dataclasses.asdict(row) for row in rows)
    geometry = ("kernel", "stride", "padding", "dilation", "groups", "jump", "receptive_field")
    assert [first[k] for k in geometry] == [(3, 5), (1, 2), (0, 1), (2, 1), 3, (1, 2), 5]
    assert [second[k] for k in geometry] == [3, 2, 1, 1, None, (2, 4), (7, 9)]


def test_control_flow_on_shapes_is_followed_exactly_by_hooks() -> None:
    analysis = analyse(ShapeFlow(), SHAPE)
    assert analysis.traced_by == "hooks"
    assert "torch.fx cannot trace it" in analysis.notes[0]
    assert (analysis.receptive_field.features, analysis.receptive_field.output) == (6, 18)
    assert [row.name for row in analysis.layers] == ["conv", "head"]


def test_control_flow_on_values_is_not_guessed_at() -> None:
    network = ValueFlow()
    analysis = analyse(network, SHAPE)
    assert analysis.traced_by == "hooks"
    assert (analysis.receptive_field.features, analysis.receptive_field.output) == (None, None)
    assert "another image may take another path" in analysis.receptive_field.reason
    assert (analysis.macs, analysis.parameters) == (3 * 4 * 9 * 256 + 8, 4 * 27 + 4 + 10)
    assert [(row.output_shape, row.kernel) for row in analysis.layers] == [((4, 16, 16), 3), ((2,), None)]
    result = check_contract(analysis, Contract(min_receptive_field=1, require=("dilated",), forbid=("max_pool",)))
    assert [(check.value, check.passed) for check in result.checks] == [(None, False)] * 3
    assert all("another image may take another path" in check.format() for check in result.checks)
    assert not any(module._forward_hooks for module in network.modules())


class Stubborn(ShapeFlow):
    """Holds what cannot be copied, and tensors that are neither parameters nor buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.scale = [self.conv.weight.mean() * 2, torch.ones(1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3))) * self.scale[0] * self.scale[1]


def test_a_network_that_is_hard_to_copy() -> None:
    network = Stubborn()
    analysis = analyse(network, SHAPE)
    assert (analysis.traced_by, analysis.receptive_field.output) == ("torch.fx", 18)
    assert network.scale[0].requires_grad
    assert network.conv.weight.device.type == "cpu"


def test_an_error_of_the_network_itself_comes_through() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        analyse(nn.Conv2d(4, 4, 3), SHAPE)
