"""Networks that work in one memory layout only: `Tensor.view` over channels and positions fails channels last."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orchestrator.architectures import VARIANTS, build_network
from orchestrator.data import Dataset
from orchestrator.errors import ExperimentError
from orchestrator.experiment.reader import read_experiment
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.training.device import place
from orchestrator.training.suitability import autocast_problem, channels_last_problem
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.check import check_experiment

SHAPE = (3, 8, 8)


class Added(nn.Module):
    """Adds what is computed in bfloat16 to a float32 tensor of its own."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(images).amax((2, 3))
        return self.head(torch.zeros(len(maps), 2).index_add(1, torch.arange(2), maps))


class Viewed(nn.Module):
    """As LeNet is usually written: the maps of the last convolution are flattened by `view`."""

    def __init__(self, num_classes: int = 4, least: int = 1) -> None:
        super().__init__()
        self.least = least
        self.convolution = nn.Conv2d(3, 2, 3)
        self.head = nn.Linear(2 * 6 * 6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) < self.least:
            raise ValueError("too few images")
        maps = self.convolution(images)
        return self.head(maps.view(len(maps), -1))


class ViewedInEvaluation(Viewed):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.convolution(images).flatten(1)) if self.training else super().forward(images)


class Flattened(Viewed):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.convolution(images).flatten(1))


@pytest.mark.parametrize(
    ("network", "batch_size"),
    [(Viewed(), 8), (Viewed(), 1), (ViewedInEvaluation(), 8), (Viewed(least=8), 8)],
    ids=["view", "one image", "in evaluation only", "a whole batch only"],
)
def test_a_network_that_does_not_work_channels_last_is_recognised(network: nn.Module, batch_size: int) -> None:
    assert "view size is not compatible" in channels_last_problem(network, SHAPE, batch_size)


@pytest.mark.parametrize("network", [Flattened(), Viewed(least=9)], ids=["flatten", "in no layout"])
def test_other_networks_have_no_problem_with_the_layout(network: nn.Module) -> None:
    before = torch.get_rng_state()
    assert channels_last_problem(network, SHAPE, 8) == ""
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_built_in_networks_work_channels_last(variant: str) -> None:
    assert channels_last_problem(build_network(variant), (3, 32, 32), 8) == ""


class Starved(nn.Module):
    """Lacks memory in its first forward passes, as another trial's memory may make it."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.inner, self.times = Flattened(), times

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.times -= 1
        if self.times >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(images)


def test_lacking_memory_decides_no_layout() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        channels_last_problem(Starved(1), SHAPE, 8)
    assert channels_last_problem(Starved(0), SHAPE, 8) == ""


def test_the_layout_is_tried_only_where_the_recipe_leaves_it_open() -> None:
    def never() -> bool:
        return False

    assert not place(Recipe(device="cpu"), Flattened(), never).channels_last
    assert place(Recipe(device="cpu", channels_last=True), Flattened(), never).channels_last


LENET = """
from torch import nn

class LeNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(2))
        self.head = nn.Linear(2 * 2 * 2, num_classes)

    def forward(self, images):
        maps = self.features(images)
        return self.head(maps.view(maps.size(0), -1))
"""


@pytest.fixture
def lenet(tmp_path: Path) -> str:
    (tmp_path / "lenet.py").write_text(LENET)
    return f"{tmp_path / 'lenet.py'}:LeNet"


def test_a_network_that_views_its_maps_is_trained_in_the_layout_that_it_works_in(
    lenet: str, dataset: Dataset, tmp_path: Path
) -> None:
    spec = TrialSpec(variant=lenet, trainer=Recipe(epochs=1, batch_size=32))
    assert list(run_trial(spec, dataset, tmp_path / "t"))[-1].final
    assert TrialFolder(tmp_path / "t").facts()["channels_last"] is False


def test_a_layout_in_which_a_network_does_not_work_is_refused_before_anything_starts(lenet: str, packed: Path) -> None:
    tree = {
        "name": "x",
        "variants": [lenet],
        "dataset": {"name": str(packed)},
        "trainer": {"channels_last": True},
    }
    with pytest.raises(ExperimentError, match=r"trainer\.channels_last: LeNet does not work .*leave the setting out"):
        check_experiment(read_experiment(tree, "x"), packed.parent, lambda _: None)


def test_a_network_that_works_in_float32_only_is_recognised() -> None:
    assert "must have the same scalar type" in autocast_problem(Added(), SHAPE, 8)
    assert autocast_problem(Flattened(), SHAPE, 8) == autocast_problem(Viewed(least=9), SHAPE, 8) == ""


@pytest.mark.parametrize(("precision", "is_said"), [("bfloat16", True), ("float32", False)])
def test_what_fails_under_autocast_is_said_before_it_is_trained(
    precision: str, is_said: bool, packed: Path, tmp_path: Path
) -> None:
    own = inspect.getsource(Added)
    (tmp_path / "added.py").write_text(f"import torch\nfrom torch import Tensor, nn\n\n{own}")
    tree = {
        "name": "x",
        "variants": [f"{tmp_path / 'added.py'}:Added"],
        "dataset": {"name": str(packed)},
        "trainer": {"precision": precision},
    }
    notes = check_experiment(read_experiment(tree, "x"), packed.parent, lambda _: None).notes
    assert any("Added works in float32, and fails in bfloat16" in note for note in notes) == is_said
