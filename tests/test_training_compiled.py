"""A compiled trial uses the same graphs whatever was compiled before it in the process."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data import Dataset
from orchestrator.spec import Optimizer, Recipe, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.training.device import Placement
from orchestrator.training.learner import Learner
from orchestrator.training.step import build_step
from orchestrator.trial import TrialFolder, run_trial

RECIPE = Recipe(compile=True, optimizer=Optimizer(lr=0.01))
Graphs = list[tuple[int, ...]]  # for each batch, the shape for which the graph that it used was compiled


class Net(nn.Module):
    """One class for networks of all widths."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).flatten(1))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """Filled by what is compiled from now on: torch's own compiler as far as the graphs, which run as they are."""
    found: Graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        assert not any(isinstance(size, torch.SymInt) for x in inputs if isinstance(x, Tensor) for size in x.shape)
        images = next(tuple(x.shape) for x in inputs if isinstance(x, Tensor) and x.ndim == 4 and x.shape[-1] == 8)

        def run(*given: Any) -> Any:
            found.append(images)
            return graph.forward(*given)

        return run

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return found


def train(width: int, sizes: Sequence[int]) -> None:
    """The steps of a trial, with batches of these sizes."""
    placement = Placement(torch.device("cpu"), torch.float32, channels_last=False)
    step = build_step(Learner.build(Net(width), RECIPE, placement, len(sizes)), RECIPE)
    for size in sizes:
        step(torch.randn(size, 3, 8, 8), torch.arange(size) % 3)


def test_every_configuration_of_a_class_is_compiled(used: Graphs) -> None:
    """Torch would stop at the ninth, without a word."""
    for width in range(4, 16):
        train(width, [4])
    assert used == [(4, 3, 8, 8)] * 12


def test_a_smaller_last_batch_has_its_own_graph_in_every_trial(used: Graphs) -> None:
    """Also in one that is resumed in the middle, or whose batches came in another order before."""
    for sizes in ([4, 4, 3], [4, 4, 3], [3, 4], [4, 3, 4, 3]):
        train(5, sizes)
        assert used == [(size, 3, 8, 8) for size in sizes]
        used.clear()


@pytest.mark.slow
def test_a_compiled_trial_gives_the_same_bits_first_second_and_resumed(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """With torch's own backend, which needs a C++ compiler."""
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=2, batch_size=40, compile=True))
    found = []
    for name in ("first", "second", "resumed"):
        if name == "resumed":
            running = run_trial(spec, dataset, tmp_path / name)
            next(running)
            running.close()
        list(run_trial(spec, dataset, tmp_path / name))
        found.append(checkpoint.content_digest(checkpoint.load(TrialFolder(tmp_path / name).last)["network"]))
    assert len(set(found)) == 1
