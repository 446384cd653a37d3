"""Networks that torch.fx sees otherwise than they are, and those that are hard to record."""

import functools
import types
from collections.abc import Callable

import pytest
import torch
from conftest import Lambda
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.analysis import analyse
from orchestrator.analysis.copy_network import copy_on
from orchestrator.analysis.trace import trace
from orchestrator.contract import check_contract
from orchestrator.spec import Contract

SHAPE = (3, 32, 32)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 10)

    def top(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.second(self.first(x).relu()).relu())


def given_another_forward() -> nn.Module:
    network = Base()
    network.forward = types.MethodType(lambda self, x: self.top(self.first(F.interpolate(x, scale_factor=2))), network)
    return network


def before_it_a_hook() -> nn.Module:
    network = Base()
    network.register_forward_pre_hook(lambda module, given: (F.interpolate(given[0], size=(64, 64)),))
    return network


class Short(Base):
    def __init__(self) -> None:
        super().__init__()
        self.forward = self.short  # type: ignore[method-assign]

    def short(self, x: Tensor) -> Tensor:
        return self.top(self.first(x).relu())


class Collected(Base):
    """Its stages are collected by hooks: of functions that have the network itself, or of its methods."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.found: dict[int, Tensor] = {}
        self.list: list[Tensor] = []
        for i, layer in enumerate((self.first, self.second)):
            if way == "closure":
                layer.register_forward_hook(lambda module, given, result, i=i: self.found.update({i: result}))
            elif way == "list":
                layer.register_forward_hook(lambda module, given, result: self.list.append(result))
            else:
                layer.register_forward_hook(functools.partial(self.keep, i))

    def keep(self, i: int, module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        self.found[i] = result

    def forward(self, x: Tensor) -> Tensor:
        self.second(self.first(x))
        maps = list(self.found.values()) or list(self.list)
        self.found.clear()
        self.list.clear()
        return self.top(maps[0] + F.interpolate(maps[1], scale_factor=2))


class Typed(Base):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if isinstance(x, Tensor) else x[:, :, ::2, ::2])


OTHERWISE: dict[str, Callable[[], nn.Module]] = {
    "another forward": given_another_forward,
    "a hook before it": before_it_a_hook,
    "its own forward": Short,
    "hooks that have it": lambda: Collected("closure"),
    "hooks with a list": lambda: Collected("list"),
    "hooks that are methods": lambda: Collected("method"),
    "a check of types": Typed,
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_analysed_is_what_the_network_computes(name: str) -> None:
    network = OTHERWISE[name]().eval()
    found = analyse(network, SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, *SHAPE))
    assert found.macs == counter.get_total_flops() // 2
    assert found.traced_by == "hooks"
    assert found.receptive_field.output is not None
    assert not found.hidden


def test_what_torch_fx_sees_rightly_is_traced_by_it() -> None:
    assert analyse(Base(), SHAPE).traced_by == "torch.fx"


def test_a_copy_leaves_what_the_networks_hooks_write_to_alone() -> None:
    network = Collected("list").eval()
    with torch.no_grad():
        expected = network(torch.ones(2, *SHAPE))
        copied = copy_on(network, "cpu")
        assert torch.equal(copied(torch.ones(2, *SHAPE)), expected)
    copied.second(copied.first(torch.ones(2, *SHAPE)))
    assert (len(copied.list), len(network.list)) == (2, 0)


class Codebook(nn.Module):
    """Every position is replaced by the nearest of a few learned vectors."""

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.conv, self.book, self.head = nn.Conv2d(3, 8, 3, 2), nn.Parameter(torch.randn(size, 8)), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x).permute(0, 2, 3, 1)
        nearest = (z[..., None, :] - self.book).pow(2).sum(-1).argmin(-1)
        return self.head(self.book[nearest].mean((1, 2)))


@pytest.mark.parametrize("size", [3, 300])
def test_what_is_picked_from_a_table_by_the_image_is_not_known(size: int) -> None:
    field = analyse(Codebook(size), SHAPE).receptive_field
    assert field.output is None
    assert "what it picks from a table depends on the image" in field.reason


ELEMENTWISE = [nn.Hardswish(), nn.Hardswish(True), nn.Mish(), nn.Mish(True), nn.RReLU(), nn.RReLU(inplace=True)]


@pytest.mark.parametrize("layer", ELEMENTWISE, ids=str)
def test_activations_act_on_each_element(layer: nn.Module) -> None:
    found = analyse(nn.Sequential(nn.Conv2d(3, 8, 3), layer), SHAPE)
    assert (found.receptive_field.output, found.hidden) == (3, "")


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_a_recurrent_layer_is_seen_through(kind: type[nn.RNNBase], gates: int) -> None:
    recurrent = Lambda(lambda x: layer(x.flatten(2).transpose(1, 2))[0][:, -1])
    layer = recurrent.layer = kind(8, 4, batch_first=True)
    found = analyse(nn.Sequential(nn.Conv2d(3, 8, 8, 8), recurrent), SHAPE)
    assert found.receptive_field.output == 32
    steps = 16  # the first begins with a state of zeros
    assert found.macs == 3 * 64 * 8 * 16 + gates * 4 * (8 * steps + 4 * steps)


class Ensemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parameters, buffers = torch.func.stack_module_state(list(self.members))
        call = functools.partial(torch.func.functional_call, self.members[0])
        return torch.vmap(lambda p, b: call((p, b), (x,)))(parameters, buffers).mean(0)


class Mixed(Base):
    """Channels are mixed by a sparse matrix that is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        at = torch.arange(8)
        self.register_buffer("by", torch.sparse_coo_tensor(torch.stack([at, at.flip(0)]), torch.ones(8), (8, 8)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sparse.mm(self.by, self.first(x).mean((2, 3)).t()).t())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("network", [Ensemble, Mixed])
def test_tensors_without_memory_of_their_own_are_recorded(network: Callable[[], nn.Module]) -> None:
    found = trace(network().eval(), SHAPE)
    assert found.output is not None
    assert found.output_shape[1:] == (10,)


class Jagged(Base):
    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x).flatten(2).mT
        jagged = torch.nested.as_nested_tensor(list(maps), layout=torch.jagged)
        return self.head(torch.stack([image.mean(0) for image in jagged.unbind()]))


class Attending(Base):
    def forward(self, x: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        tokens = self.first(x).flatten(2).mT[:, None]
        return self.head(flex_attention(tokens, tokens, tokens)[:, 0].mean(1))


@pytest.mark.filterwarnings("ignore")  # of torch, that these are slow or new
@pytest.mark.parametrize("network", [Jagged, Attending])
def test_what_cannot_be_seen_is_unknown_rather_than_an_error(network: Callable[[], nn.Module]) -> None:
    found = analyse(network(), SHAPE)
    assert (found.parameters, found.output_shape) == (898, (10,))
    assert found.receptive_field.output is None
    assert found.hidden


class Picky(Base):
    """Works, but not while anything watches its operations."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise NotImplementedError("no rule for a mode")
        return super().forward(x)


def test_of_what_cannot_be_recorded_the_parameters_are_known() -> None:
    found = analyse(Picky(), SHAPE)
    assert (found.parameters, found.output_shape, found.macs, found.layers) == (898, (10,), None, ())
    assert "no rule for a mode" in found.receptive_field.reason
    checks = check_contract(found, Contract(max_parameters=1000, forbid=["max_pool"])).checks
    assert [check.passed for check in checks] == [True, False]
    assert "cannot be recorded" in checks[1].reason


def test_what_a_network_raises_itself_is_raised() -> None:
    with pytest.raises(RuntimeError, match="to have 3 channels"):
        analyse(Base(), (1, 32, 32))
