"""Steps recorded as a CUDA graph: the same bits as computed ones; without CUDA, computed ones and one line."""

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.architectures import VARIANTS, build_network
from orchestrator.spec import Recipe
from orchestrator.training import step as steps
from orchestrator.training.device import make_deterministic, place
from orchestrator.training.graph import Replayed
from orchestrator.training.learner import Learner


def test_what_cannot_be_recorded_is_computed_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("here it can be recorded")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    pictures, labels = torch.randn(4, 3, 2, 2), torch.arange(4) % 3

    def compute(pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = F.cross_entropy(network(pictures), labels)
        loss.backward()
        return loss.detach(), torch.zeros(())

    expected, _ = compute(pictures, labels)
    gradients = [p.grad.clone() for p in network.parameters()]
    replayed = Replayed(compute, network)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            network.zero_grad()
            assert torch.equal(replayed(pictures, labels)[0], expected)
            assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert len(caplog.records) == 1


def train(variant: str, recorded: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Five steps with dropout, the fourth on a smaller batch; the losses, and the weights and buffers after."""
    make_deterministic()
    torch.manual_seed(0)
    recipe = Recipe(device="cuda", cuda_graph=recorded)
    network = build_network(variant)
    placement = place(recipe, network)
    learner = Learner.build(network, recipe, placement, 5)
    step = steps.build_step(learner, recipe)
    network.train()
    torch.manual_seed(1)
    losses = []
    for size in (64, 64, 64, 16, 64):
        pictures = torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(len(losses)))
        pictures = pictures.cuda().contiguous(memory_format=placement.memory_format)
        losses.append(step(pictures, torch.arange(size, device="cuda") % 10)[0].clone())
        learner.learning_rate.after_batch()
    return losses, learner.weights()


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_steps_give_the_bits_of_computed_ones(variant: str) -> None:
    recorded, computed = train(variant, True), train(variant, False)
    assert all(torch.equal(*pair) for pair in zip(recorded[0], computed[0], strict=True))
    assert all(torch.equal(value, computed[1][name]) for name, value in recorded[1].items())
