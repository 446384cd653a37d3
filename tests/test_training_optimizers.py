"""Optimisers and schedules where torch's own would go wrong: an overflow at the first step, a warmup of one step."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from orchestrator.spec import Optimizer, Recipe, Schedule
from orchestrator.training.device import Placement
from orchestrator.training.learner import Learner
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.schedule import LearningRate


@pytest.fixture
def littered_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New tensors that nothing was written to hold NaN."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    yield
    torch.set_deterministic_debug_mode(before)


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
