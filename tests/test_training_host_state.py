"""What a network keeps on the host is seen, so that no recorded step leaves it out: results are those of computing."""

import functools
import itertools
import logging
import math
import random
import re
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import timm
import torch
import torchvision
from replaying import replay_on_cpu
from timm.layers import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from orchestrator.architectures import VARIANTS, build_network
from orchestrator.training.cuda_graph import Changing, GraphedCallable, unchanged
from orchestrator.training.host_state import host_state_problem
from orchestrator.training.randomness import seed_everything

STEPS = 8


class Net(nn.Module):
    """x: (N, 3) in, (N, 3) out; ``change`` is done at every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.inner = nn.Sequential(nn.BatchNorm1d(3))
        self.inner[0].register_buffer("level", torch.ones(3))
        self.register_buffer("running", torch.ones(3))
        self.register_buffer("shift", torch.zeros(3))
        self.register_buffer("offset", None, persistent=False)

    def change(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        self.change(x.detach())
        y = self.inner(self.layer(x)) * self.running * self.inner[0].level + self.shift
        return y if self.offset is None else y + self.offset


class InPlace(Net):
    def change(self, x: Tensor) -> None:
        self.running.mul_(0.9).add_(0.1 * x.abs().mean(0))


class Replaces(Net):
    def change(self, x: Tensor) -> None:
        self.running = 0.9 * self.running + 0.1 * x.abs().mean(0)


class ReplacesOfASubmodule(Net):
    def change(self, x: Tensor) -> None:
        self.inner[0].level = 0.9 * self.inner[0].level + 0.1 * x.abs().mean(0)


class Makes(Net):
    def change(self, x: Tensor) -> None:
        if self.offset is None:
            self.offset = torch.full((3,), 0.5)


class Registers(Net):
    def change(self, x: Tensor) -> None:
        if "scale" not in self._buffers:
            self.register_buffer("scale", x.mean(0), persistent=False)
            self.running.add_(self.scale)


class ReplacesAParameter(Net):
    def change(self, x: Tensor) -> None:
        self.layer.bias = nn.Parameter(self.layer.bias.detach() + 0.1 * x.mean(0))


class AddsAModule(Net):
    def change(self, x: Tensor) -> None:
        if len(self.inner) < 3:
            self.inner.append(nn.ReLU())


class ReplacesInTraining(Replaces):
    def change(self, x: Tensor) -> None:
        if self.training:
            super().change(x)


class ReplacesInEvaluation(Net):
    def change(self, x: Tensor) -> None:
        if not self.training:
            self.shift = 0.9 * self.shift + 0.1 * x.abs().mean(0)


class MakesInEvaluation(Makes):
    def change(self, x: Tensor) -> None:
        if not self.training:
            super().change(x)


class ReplacesWhereGradientsAre(Replaces):
    def change(self, x: Tensor) -> None:
        if torch.is_grad_enabled():
            super().change(x)


class ReplacesInBackward(Replaces):
    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(self.layer(x)) * self.running
        if y.requires_grad:
            y.register_hook(lambda gradient: self.change(gradient))
        return y


REFUSED = {
    Replaces: "the buffer Replaces.running",
    ReplacesOfASubmodule: "the buffer inner.0.level",
    Makes: "the buffer Makes.offset",
    Registers: "the buffer Registers.scale",
    ReplacesAParameter: "the parameter layer.bias",
    AddsAModule: "the module inner.1",
    ReplacesInTraining: "the buffer ReplacesInTraining.running",
    ReplacesInEvaluation: "the buffer ReplacesInEvaluation.shift",
    MakesInEvaluation: "the buffer MakesInEvaluation.offset",
    ReplacesWhereGradientsAre: "the buffer ReplacesWhereGradientsAre.running",
    ReplacesInBackward: "the buffer ReplacesInBackward.running",
}


class Learning:
    """Steps and evaluations of a network, computed or recorded as the trainer does it."""

    def __init__(self, network: nn.Module, recorded: bool) -> None:
        stream = torch.Generator().manual_seed(1)
        self.network, self.epoch = network, 0
        self.optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, foreach=False)
        self.data, self.step = torch.randn(STEPS, 4, 3, generator=stream), torch.zeros(1, dtype=torch.int64)
        self.logits = torch.zeros(4, 3)
        self.train: Callable[[int], None] = self._train
        self.judge: Callable[[int], None] = self._judge
        if recorded:
            self.train = GraphedCallable(
                "the step", self._train, self._probe, network, (self.step,), self.optimizer, period=lambda: self.epoch
            )
            self.judge = GraphedCallable("the evaluation", self._judge, self._probe, network, (self.logits,))

    def _probe(self, size: int) -> str | None:
        return host_state_problem(self.network, lambda copied: copied(self.data[0]))

    def _train(self, size: int) -> None:
        self.optimizer.zero_grad()
        images = self.data.index_select(0, self.step % STEPS).squeeze(0)
        self.network(images).square().mean().backward()
        self.optimizer.step()
        self.step.add_(1)

    def _judge(self, size: int) -> None:
        with torch.inference_mode():
            self.logits.copy_(self.network(self.data[0]))

    def epochs(self, count: int) -> list[Tensor]:
        """Logits after each; the network's state at the end."""
        found = []
        for self.epoch in range(count):
            seed_everything(0, self.epoch, "dropout")
            self.network.train()
            for _ in range(STEPS):
                self.train(4)
            self.network.eval()
            seed_everything(0, "evaluation")
            self.judge(4)
            found.append(self.logits.clone())
        return [*found, *self.network.state_dict().values()]


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


@pytest.mark.parametrize("kind", [Net, InPlace, *REFUSED])
def test_a_recorded_network_learns_what_a_computed_one_does(kind: type[Net], monkeypatch: pytest.MonkeyPatch) -> None:
    computed = Learning(made(kind), recorded=False).epochs(3)
    replay_on_cpu(monkeypatch)
    learning = Learning(made(kind), recorded=True)
    assert all(one.equal(other) for one, other in zip(learning.epochs(3), computed, strict=True))
    problems = {learning.train.problem, learning.judge.problem} - {None}
    assert all(REFUSED[kind] in problem for problem in problems)
    assert bool(problems) == (kind in REFUSED)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_trial_run_leaves_every_object_where_it_was(kind: type[Net], monkeypatch: pytest.MonkeyPatch) -> None:
    replay_on_cpu(monkeypatch)
    learning = Learning(network := made(kind), recorded=False)
    changing = Changing(network, (learning.step, learning.logits), learning.optimizer)
    parts = [*network.named_modules(), *network.named_parameters(), *network.named_buffers()]
    values = {name: value.clone() for name, value in network.state_dict().items()}
    with unchanged(changing):
        learning.train(4)
        learning.judge(4)
        with torch.no_grad():
            network.eval()(learning.data[0])
    network.train()
    now = [*network.named_modules(), *network.named_parameters(), *network.named_buffers()]
    assert [(name, id(part)) for name, part in now] == [(name, id(part)) for name, part in parts]
    assert all(value.equal(values[name]) for name, value in network.state_dict().items())
    assert not learning.step.any()
    assert not any(value.any() for value in changing.optimizer_state())  # made in the trial run: it begins with zeros


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def add(self) -> None:
        self.calls += 1


class Slotted:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0

    def add(self) -> None:
        self.calls += 1


class Forgetful(Counter):
    def __getstate__(self) -> dict:
        return {}

    def __setstate__(self, state: dict) -> None:
        self.calls = 0


class Unreadable:
    def __deepcopy__(self, memo: dict) -> "Unreadable":
        return self

    def __reduce_ex__(self, protocol: int) -> Any:
        raise TypeError("not to be pickled")


class Colour(Enum):
    RED = 1


def counting() -> Callable[[], None]:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    return count


SHARED = Counter()
# What Keeps keeps, and what forward does with it.
KEPT: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], object]]] = {
    "random.Random": (lambda: random.Random(0), lambda kept, x: kept.random()),
    "its method": (lambda: random.Random(0).random, lambda kept, x: kept()),
    "numpy Generator": (lambda: np.random.default_rng(0), lambda kept, x: kept.random()),
    "numpy RandomState": (lambda: np.random.RandomState(0), lambda kept, x: kept.rand()),
    "torch Generator": (lambda: torch.Generator(), lambda kept, x: torch.rand(1, generator=kept)),
    "count": (lambda: itertools.count(), lambda kept, x: next(kept)),
    "cycle": (lambda: itertools.cycle([1, 2, 3]), lambda kept, x: next(kept)),
    "array": (lambda: np.zeros(3), lambda kept, x: kept.__iadd__(1)),
    "deque": (lambda: deque([0], maxlen=4), lambda kept, x: kept.append(len(x))),
    "set": (set, lambda kept, x: kept.add(len(x))),
    "nested": (lambda: {"of": [OrderedDict(a=(np.zeros(1),))]}, lambda kept, x: kept["of"][0]["a"][0].fill(2)),
    "object": (Counter, lambda kept, x: kept.add()),
    "object with slots": (Slotted, lambda kept, x: kept.add()),
    "object that pickles less": (Forgetful, lambda kept, x: kept.add()),
    "closure": (lambda: counting(), lambda kept, x: kept()),
    "partial": (lambda: functools.partial(Counter.add, Counter()), lambda kept, x: kept()),
    "method": (lambda: Counter().add, lambda kept, x: kept()),
    "weak reference": (lambda: weakref.ref(SHARED), lambda kept, x: kept().add()),
    "module in a list": (lambda: [nn.BatchNorm1d(3)], lambda kept, x: kept[0].train()(x)),
    "tensor": (lambda: torch.zeros(3), lambda kept, x: kept.add_(1)),
    "tensor in a list": (lambda: [torch.zeros(3)], lambda kept, x: kept[0].add_(1)),
    "generator function": (lambda: (i for i in range(9)), lambda kept, x: None),
    "lock": (threading.Lock, lambda kept, x: None),
    "cannot say": (Unreadable, lambda kept, x: None),
}
# What is kept as well and not changed.
HARMLESS: dict[str, Callable[[], Any]] = {
    "function": lambda: torch.relu,
    "lambda": lambda: lambda x: x + 1,
    "class": lambda: nn.ReLU,
    "partial": lambda: functools.partial(nn.BatchNorm2d, eps=1e-3),
    "logger": lambda: logging.getLogger("mine"),
    "array": lambda: np.arange(3),
    "array of objects": lambda: np.array([None, "a"], dtype=object),
    "generator": lambda: random.Random(0),
    "object": Counter,
    "nan": lambda: [float("nan"), math.inf],
    "enum": lambda: Colour.RED,
    "path": lambda: Path("here"),
    "pattern": lambda: re.compile("a"),
    "settings of torch": lambda: (torch.float32, torch.device("cpu"), torch.channels_last, torch.Size([1])),
    "itself": lambda: (kept := [1], kept.append(kept))[0],
    "module in a list": lambda: [nn.Linear(3, 3)],
    "tensor": lambda: torch.zeros(3),
    "compiled": lambda: torch.compile(torch.relu, backend="eager"),
}


class Keeps(nn.Module):
    def __init__(self, kept: Any, use: Callable[[Any, Tensor], object]) -> None:
        super().__init__()
        self.layer, self.kept, self.use = nn.Linear(3, 3), kept, use

    def forward(self, x: Tensor) -> Tensor:
        self.use(self.kept, x)
        return self.layer(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # copies of itertools
@pytest.mark.parametrize("name", KEPT)
def test_whatever_it_keeps_is_seen_to_change(name: str) -> None:
    build, use = KEPT[name]
    found = host_state_problem(Keeps(build(), use), lambda copied: copied(torch.ones(2, 3))) or ""
    assert "Keeps.kept" in found or "cannot be copied" in found


@pytest.mark.parametrize("name", HARMLESS)
def test_what_it_keeps_and_does_not_change_is_no_reason(name: str) -> None:
    network = Keeps(HARMLESS[name](), lambda kept, x: None)
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode():
            assert host_state_problem(network, lambda copied: copied(torch.ones(2, 3))) is None


def test_a_tensor_made_in_inference_mode_is_compared_by_its_numbers() -> None:
    with torch.inference_mode():
        network = Keeps(torch.zeros(3), lambda kept, x: kept.add_(1))
        assert "Keeps.kept" in (host_state_problem(network, lambda copied: copied(torch.ones(2, 3))) or "")
        network.use = lambda kept, x: None
        assert host_state_problem(network, lambda copied: copied(torch.ones(2, 3))) is None


def test_what_its_class_keeps_is_seen_as_well() -> None:
    class Counts(Net):
        calls: ClassVar[list[int]] = []

        def change(self, x: Tensor) -> None:
            self.calls.append(len(x))

    assert "Counts.calls" in (host_state_problem(Counts(), lambda copied: copied(torch.ones(2, 3))) or "")


@pytest.mark.parametrize(
    ("draw", "source"),
    [
        (lambda kept, x: random.random(), "random"),
        (lambda kept, x: np.random.rand(), "numpy"),
        (lambda kept, x: np.random.bytes(4 * 624), "numpy"),
        (lambda kept, x: torch.rand(1), "torch's on the CPU"),
    ],
)
def test_draws_from_every_global_generator_are_seen_and_taken_back(
    draw: Callable[[Any, Tensor], object], source: str
) -> None:
    network = Keeps(None, draw)
    before = random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()
    assert f"from {source}" in (host_state_problem(network, lambda copied: copied(torch.ones(2, 3))) or "")
    assert (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()) == before


class Drops(Net):
    def __init__(self, draws: Any) -> None:
        super().__init__()
        self.draws = draws

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if self.draws.random() < 0.8 else 0.5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [random.Random, np.random.default_rng])
def test_a_generator_of_its_own_draws_on(make: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = Learning(made(lambda: Drops(make(seed))), recorded=False).epochs(2)
    replay_on_cpu(monkeypatch)
    learning = Learning(made(lambda: Drops(make(seed))), recorded=True)
    assert all(one.equal(other) for one, other in zip(learning.epochs(2), computed, strict=True))
    assert learning.train.problem == "the network changes Drops.draws, which is neither a weight nor a buffer"


def torchvision_network(name: str, **more: Any) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None, num_classes=10, **more)


ORDINARY: dict[str, Callable[[], nn.Module]] = {
    **{name: functools.partial(build_network, name, {}, 10, (3, 32, 32)) for name in VARIANTS},
    "resnet18": torchvision_network("resnet18"),
    "vit_b_16": torchvision_network("vit_b_16", image_size=32),
    "swin_t": torchvision_network("swin_t"),
    "shufflenet_v2_x0_5": torchvision_network("shufflenet_v2_x0_5"),
    "timm resnet18": lambda: timm.create_model("resnet18", num_classes=10),
    "timm vit_tiny": lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10),
    "timm convnext_atto": lambda: timm.create_model("convnext_atto", num_classes=10),
    "timm mobilenetv3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=10),
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 10, 3)), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "with a hook": lambda: hooked(torchvision.models.squeezenet1_1(num_classes=10)),
}


def hooked(network: nn.Module) -> nn.Module:
    network.handle = network.classifier.register_forward_hook(lambda module, inputs, output: output * 2)
    return network


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_networks_are_recorded(name: str) -> None:
    network, images = ORDINARY[name](), torch.randn(2, 3, 32, 32)
    for module in network.modules():
        if isinstance(module, (nn.Dropout, StochasticDepth, DropPath)):  # these draw on the device that computes
            module.eval().train = lambda mode, module=module: module
    for training in (True, False):
        with torch.inference_mode(not training):
            assert host_state_problem(network.train(training), lambda copied: copied(images)) is None
