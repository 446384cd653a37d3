"""Optimisers and schedules where torch's own would go wrong: an overflow at the first step, a warmup of one step."""

import math
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from orchestrator.records import Record
from orchestrator.spec import Optimizer, Recipe, Schedule
from orchestrator.training.device import Placement
from orchestrator.training.learner import Learner, load_optimizer
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.schedule import LearningRate
from orchestrator.training.step import build_step
from orchestrator.training.try_step import QUICK, try_step


@pytest.fixture
def littered_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New tensors that nothing was written to hold NaN."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    yield
    torch.set_deterministic_debug_mode(before)


BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


@pytest.mark.parametrize(("before", "after"), [(FP32, FP16), (BF16, FP16), (FP16, BF16), (FP16, FP32), (FP16, FP16)])
@pytest.mark.parametrize("name", get_args(Optimizer.__annotations__["name"]))
def test_a_checkpoint_is_taken_up_where_the_precision_is_another(
    name: str, before: torch.dtype, after: torch.dtype
) -> None:
    """A machine whose GPU has no bfloat16 scales its losses; others do not."""

    def learner(precision: torch.dtype) -> Learner:
        placement = Placement(torch.device("cpu"), precision, channels_last=False)
        return Learner.build(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), recipe, placement, 2)

    recipe = Recipe(optimizer=Optimizer(name=name, lr=0.01))
    images, labels = torch.ones(2, 3, 2, 2), torch.tensor([0, 1])
    first, second = learner(before), learner(after)
    build_step(first, recipe)(images, labels)
    first.keep(Record(1, 0.0, {}), accuracy=0.5, loss=1.0)
    if before == after:
        first.scaler.update(512.0)
    second.load_state_dict(first.state_dict())
    assert second.scaler.is_enabled() == (after == torch.float16)
    if second.scaler.is_enabled():
        assert second.scaler.get_scale() == (512.0 if before == after else learner(after).scaler.get_scale())
    build_step(second, recipe)(images, labels)
    assert all(p.isfinite().all() for p in second.network.parameters())


def test_an_optimizer_counts_where_this_device_does() -> None:
    """From the CPU to a device where a step is recorded, as which one without values does: rmsprop counts there."""
    network, elsewhere = nn.Linear(4, 3), nn.Linear(4, 3, device="meta")
    settings = Optimizer(name="rmsprop", lr=0.01)
    saved = build_optimizer(settings, network.parameters())
    network(torch.ones(2, 4)).sum().backward()
    saved.step()
    taken_up = build_optimizer(settings, elsewhere.parameters(), "cuda")
    load_optimizer(taken_up, saved.state_dict())
    assert {state["step"].device.type for state in saved.state.values()} == {"cpu"}
    assert {state["step"].device.type for state in taken_up.state.values()} == {"meta"}
    assert taken_up.param_groups[0]["capturable"]


@pytest.mark.usefixtures("littered_memory")
@pytest.mark.parametrize("nesterov", [False, True])
def test_an_overflow_at_the_first_step_is_skipped_without_a_trace(nesterov: bool) -> None:
    recipe = Recipe(optimizer=Optimizer(momentum=0.9, nesterov=nesterov), schedule=Schedule(name="constant"))
    placement = Placement(torch.device("cpu"), torch.float16, channels_last=False)

    def learned(slopes: list[float]) -> torch.Tensor:
        torch.manual_seed(0)
        learner = Learner.build(nn.Linear(5, 3), recipe, placement, batches=10)
        for slope in slopes:
            learner.optimizer.zero_grad()
            learner.scaler.scale(slope * sum(p.sum() for p in learner.network.parameters())).backward()
            learner.scaler.step(learner.optimizer)
            learner.scaler.update()
        return torch.cat([p.detach().flatten() for p in learner.network.parameters()])

    assert torch.equal(learned([math.inf, 1.0, -0.5, 0.25]), learned([1.0, -0.5, 0.25]))


def onecycle(epochs: int, warmup: float, anneal: str) -> list[float]:
    """The rate of each epoch, of a cycle that peaks at 0.1."""
    schedule = Schedule(name="onecycle", interval="epoch", warmup=warmup, anneal=anneal)
    optimizer = build_optimizer(Optimizer(lr=0.1), [nn.Parameter(torch.zeros(1))])
    rate, seen = LearningRate(schedule, optimizer, epochs, batches=3), []
    for _ in range(epochs):
        seen.append(rate.value)
        optimizer.step()
        rate.after_epoch(0.5)
    return seen


@given(epochs=st.integers(2, 200), peak=st.integers(1, 199), anneal=st.sampled_from(["cos", "linear"]))
@example(epochs=10, peak=1, anneal="cos")
@example(epochs=5, peak=1, anneal="linear")
@example(epochs=2, peak=1, anneal="cos")
def test_a_warmup_of_whole_steps_peaks_at_the_last_of_them(epochs: int, peak: int, anneal: str) -> None:
    peak = min(peak, epochs - 1)
    seen = onecycle(epochs, peak / epochs, anneal)
    assert seen[peak - 1] == max(seen) == pytest.approx(0.1)
    assert min(seen) > 0
    assert seen == sorted(seen[:peak]) + sorted(seen[peak:], reverse=True)


@given(epochs=st.integers(1, 200), warmup=st.floats(0, 1, exclude_max=True))
@example(epochs=1, warmup=0.5)
def test_every_warmup_gives_rates_to_train_with(epochs: int, warmup: float) -> None:
    assert all(0 < rate <= 0.1 * (1 + 1e-9) for rate in onecycle(epochs, warmup, "cos"))


OPTIMIZERS = get_args(Optimizer.__annotations__["name"])
SCHEDULES = get_args(Schedule.__annotations__["name"])


@given(
    name=st.sampled_from(SCHEDULES),
    interval=st.sampled_from([None, "batch", "epoch"]),
    epochs=st.integers(1, 12),
    batches=st.integers(1, 12),
    warmup=st.floats(0, 1, exclude_max=True) | st.integers(0, 11).map(lambda count: count / 12),
    total=st.none() | st.integers(1, 200),
    anneal=st.sampled_from(["cos", "linear"]),
    cycle=st.booleans(),
    optimizer=st.sampled_from(OPTIMIZERS),
)
@example("onecycle", "batch", 1, 1, 0.3, None, "cos", True, "muon")
@example("onecycle", "epoch", 1, 5, 0.0, None, "linear", True, "sgd")
@example("onecycle", "batch", 2, 5, 1 - 2**-53, None, "cos", True, "adam")
@example("onecycle", "batch", 2, 5, 5e-324, 1, "linear", False, "rmsprop")
def test_any_schedule_of_any_number_of_steps_gives_settings_to_train_with(
    name: str,
    interval: str | None,
    epochs: int,
    batches: int,
    warmup: float,
    total: int | None,
    anneal: str,
    cycle: bool,
    optimizer: str,
) -> None:
    interval = None if name == "plateau" else interval
    schedule = Schedule(
        name=name, interval=interval, warmup=warmup, total_steps=total, anneal=anneal, cycle_momentum=cycle
    )
    built = build_optimizer(Optimizer(name=optimizer, lr=0.1), [nn.Parameter(torch.zeros(2, 2))])
    rate = LearningRate(schedule, built, epochs, batches)
    for _ in range(epochs):
        rate.begin_epoch()
        for step in range(batches):
            rate.set(torch.tensor([step]))
            [group] = built.param_groups if len(built.param_groups) == 1 else built.param_groups[:1]
            assert 0 < rate.used <= 0.1 * (1 + 1e-9)
            assert group["lr"] == rate.used
            momentum = group.get("betas", (group.get("momentum", 0.0),))[0]
            assert 0 <= momentum < 1
            rate.after_batch()
        rate.after_epoch(0.5)


class Skipping(nn.Module):
    """The block takes part in some steps only: stochastic depth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.head, self.skipped = nn.Linear(3, 3), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.head((x if self.skipped else x + self.block(x).relu()).mean((2, 3)))


def plain(settings: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """torch's own, one parameter after the other."""
    s, one_by_one = settings, {"foreach": False, "fused": False}
    if s.name == "sgd":
        return torch.optim.SGD(parameters, s.lr, s.momentum, 0, s.weight_decay, s.nesterov, **one_by_one)
    if s.name == "rmsprop":
        return torch.optim.RMSprop(parameters, s.lr, s.alpha, s.eps, s.weight_decay, s.momentum, foreach=False)
    kind = torch.optim.Adam if s.name == "adam" else torch.optim.AdamW
    return kind(parameters, s.lr, (s.beta1, s.beta2), s.eps, s.weight_decay, **one_by_one)


@pytest.mark.usefixtures("littered_memory")
@pytest.mark.parametrize("first", [[True, True, False, True, False], [False, True, False], [True, True]])
@pytest.mark.parametrize(
    "settings",
    [
        *(Optimizer(name="sgd", momentum=0.9, nesterov=nesterov, lr=0.1) for nesterov in (False, True)),
        *(Optimizer(name="sgd", momentum=0.0, lr=0.1), Optimizer(name="rmsprop", lr=0.01)),
        *(Optimizer(name=name, lr=0.01) for name in ("adam", "adamw")),
    ],
    ids=lambda value: f"{value.name}-{value.momentum}-{value.nesterov}" if isinstance(value, Optimizer) else None,
)
@pytest.mark.parametrize("cycle", [False, True])
def test_a_block_that_is_skipped_in_the_first_steps_learns_as_by_torchs_plain_optimizer(
    first: list[bool], settings: Optimizer, cycle: bool
) -> None:
    schedule = Schedule(name="onecycle", cycle_momentum=cycle)
    recipe = Recipe(epochs=1, optimizer=settings, schedule=schedule)
    torch.manual_seed(0)
    network, reference = Skipping(), Skipping()
    reference.load_state_dict(network.state_dict())
    placement = Placement(torch.device("cpu"), torch.float32, channels_last=False)
    learner = Learner.build(network, recipe, placement, batches=len(first) + 3)
    step, expected = build_step(learner, recipe), plain(settings, list(reference.parameters()))
    for skipped in [*first, False, False, True]:
        network.skipped = reference.skipped = skipped
        images, labels = torch.randn(6, 3, 4, 4), torch.arange(6) % 3
        for group, given_by in zip(expected.param_groups, learner.optimizer.param_groups, strict=True):
            group.update({key: given_by[key] for key in ("lr", "momentum", "betas") if key in given_by})
        step(images, labels)
        learner.learning_rate.after_batch()
        expected.zero_grad()
        nn.functional.cross_entropy(reference(images), labels).backward()
        expected.step()
        for one, other in zip(network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("skipped", [True, False])
def test_muon_takes_steps_in_which_some_or_all_kernels_have_no_gradient(skipped: bool) -> None:
    recipe = Recipe(epochs=1, optimizer=Optimizer(name="muon", lr=0.01), schedule=Schedule(name="constant"))
    network = Skipping()
    learner = Learner.build(network, recipe, Placement(torch.device("cpu"), torch.float32, False), batches=2)
    network.skipped = skipped
    for _ in range(2):
        build_step(learner, recipe)(torch.randn(6, 3, 4, 4), torch.arange(6) % 3)
    network.first.requires_grad_(False)
    network.skipped = True
    build_step(learner, recipe)(torch.randn(6, 3, 4, 4), torch.arange(6) % 3)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


class Spectral(nn.Module):
    """Weighs frequencies by complex parameters; picks channels by whole numbers, which are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(3, 4, 3, dtype=torch.cfloat))
        self.kernels = nn.Parameter(torch.randn(3, 3, 1, 1, dtype=torch.cfloat))
        self.order = nn.Parameter(torch.arange(3).flip(0), requires_grad=False)
        self.head = nn.Linear(3 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frequencies = torch.einsum("nchw,dcij->ndhw", torch.fft.rfft2(x) * self.weights, self.kernels)
        return self.head(torch.fft.irfft2(frequencies)[:, self.order].flatten(1))


@pytest.mark.parametrize("name", get_args(Optimizer.__annotations__["name"]))
def test_complex_and_whole_parameters_are_no_obstacle(name: str) -> None:
    torch.manual_seed(0)
    recipe = Recipe(optimizer=Optimizer(name=name, lr=0.01), l1=1e-4, l2=1e-4, gradient_clip=1.0)
    learner = Learner.build(Spectral(), recipe, Placement(torch.device("cpu"), FP32, channels_last=False), 2)
    before = {key: tensor.clone() for key, tensor in learner.network.state_dict().items()}
    images, labels = torch.randn(2, 3, 4, 4), torch.tensor([0, 1])
    for _ in range(2):
        build_step(learner, recipe)(images, labels)
    changed = {key for key, tensor in learner.network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"weights", "kernels", "head.weight", "head.bias"}
    assert all(torch.isfinite(p).all() for p in learner.network.parameters())


class Looked(nn.Module):
    """Its gradients are sparse, which few optimisers take."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, 3, sparse=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table((x.flatten(1).sum(1) > 0).long())


@pytest.mark.parametrize("macs", [0, int(QUICK)])
@pytest.mark.parametrize("name", get_args(Optimizer.__annotations__["name"]))
def test_a_step_is_tried_with_the_optimiser_of_the_recipe(macs: int, name: str) -> None:
    arguments = Looked(), Looked, (3, 2, 2), 3, 4, macs
    assert "sparse" in try_step(*arguments, optimizer=Optimizer(name=name)).problem.lower()
    assert not try_step(*arguments).problem
