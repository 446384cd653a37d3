"""Networks with several outputs, a state of their own, or that fail in training only: trained, kept, or refused."""

import contextlib
import copy
import random
import threading
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import pytest
import torch
from conftest import Lambda
from torch import Tensor, nn
from torch.nn import functional as F
from trained import check, weights

from orchestrator import records as keys
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.data import Dataset, apply, measure, save_packed
from orchestrator.errors import CheckpointError, ExperimentError, VariantError
from orchestrator.experiment.reader import read_experiment
from orchestrator.reporting.activation import activation_maps
from orchestrator.spec import Recipe, Schedule, TrialSpec
from orchestrator.spec.trial import LATER, WHEREFORE
from orchestrator.spec.trial import digest as identity_digest
from orchestrator.tracking.models import save_model
from orchestrator.training import checkpoint
from orchestrator.training.device import Placement, place
from orchestrator.training.learner import Learner
from orchestrator.training.step import build_step
from orchestrator.training.try_step import MOST, QUICK, Tried, try_step
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.check import check_experiment

NETWORKS = '''
from collections import namedtuple

import torch
from torch import nn

Outputs = namedtuple("Outputs", ["logits", "auxiliary"])


class Plain(nn.Module):
    """One output."""

    def __init__(self, num_classes=3, width=6):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, stride=4), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def features(self, x):
        return self.body(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Training(Plain):
    """Auxiliary heads in training mode only, as Inception and GoogLeNet have them."""

    def __init__(self, num_classes=3):
        super().__init__(num_classes)
        self.auxiliary = nn.Linear(6, num_classes)

    def forward(self, x):
        features = self.features(x)
        return Outputs(self.head(features), self.auxiliary(features)) if self.training else self.head(features)


class Always(Training):
    def forward(self, x):
        features = self.features(x)
        return self.head(features), self.auxiliary(features)


class Mapping(Training):
    def forward(self, x):
        features = self.features(x)
        return {"auxiliary": self.auxiliary(features), "logits": self.head(features)}


class Maps(Plain):
    """Returns its features as well."""

    def forward(self, x):
        features = self.features(x)
        return self.head(features), features


class Silent(Plain):
    """Its train() returns nothing, so neither does its eval()."""

    def train(self, mode=True):
        super().train(mode)
        self.body[1].eval()


class Counting(Plain):
    """Keeps a mean, a list and a count outside of its buffers, and learns by them."""

    def __init__(self, num_classes=3):
        super().__init__(num_classes)
        self.seen, self.mean, self.recent = 0, torch.zeros(3), [1.0]

    def get_extra_state(self):
        return {"seen": self.seen, "mean": self.mean, "recent": list(self.recent), "name": "counting", "no": None}

    def set_extra_state(self, state):
        self.seen, self.mean, self.recent = state["seen"], state["mean"].clone(), list(state["recent"])

    def forward(self, x):
        if self.training:
            self.seen += len(x)
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3))
            self.recent = [*self.recent, 1 / self.seen][-3:]
        return super().forward(x) * (1 + sum(self.recent)) + self.mean.sum()


class Saving(Plain):
    """Keeps a number by its own hooks, and a version that loading asks for."""

    _version = 3
    steps = 0

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "steps"] = self.steps

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *others):
        if local_metadata.get("version") != 3:
            raise RuntimeError("this is a state of another version")
        self.steps = state_dict.pop(prefix + "steps")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    def forward(self, x):
        self.steps += self.training
        return super().forward(x) * (1 + 1 / (1 + self.steps))


class Holder:
    pass


class Holding(Plain):
    def get_extra_state(self):
        return {"settings": {"holder": Holder()}}

    def set_extra_state(self, state):
        pass


class Ghost(Plain):
    """Normalises sixteen images at a time."""

    def features(self, x):
        maps = super().features(x)
        groups = maps.view(-1, 16, maps.shape[1]) if self.training else maps[None]
        return (groups - groups.mean(1, keepdim=True)).view_as(maps)


class Detached(Plain):
    def forward(self, x):
        return super().forward(x).detach() if self.training else super().forward(x)


class NoGrad(Plain):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


class Unlearned(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.classes = num_classes

    def forward(self, x):
        return x.flatten(1)[:, : self.classes]


class Unused(Plain):
    def __init__(self, num_classes=3):
        super().__init__(num_classes)
        self.forgotten = nn.Linear(2, 2)


class Broken(Plain):
    def forward(self, x):
        return super().forward(x) if not self.training else self.head(x)
'''


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    (tmp_path / "heads.py").write_text(NETWORKS)
    return tmp_path / "heads.py"


def attempt(network: nn.Module, *arguments: Any) -> Tried:
    return try_step(network, lambda: copy.deepcopy(network), *arguments)


def built(networks: Path, name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(f"{networks}:{name}", {}, 3, (3, 16, 16))


def make_spec(networks: Path, name: str, **recipe: Any) -> TrialSpec:
    return TrialSpec(variant=f"{networks}:{name}", trainer=Recipe(**{"epochs": 3, "batch_size": 32, **recipe}))


def trained(spec: TrialSpec, dataset: Dataset, folder: Path) -> tuple[str, list]:
    """The digest of the chosen weights, and what the records say but for the clock."""
    list(run_trial(spec, dataset, folder))
    figures = [{k: v for k, v in r.metrics.items() if not keys.varies(k)} for r in TrialFolder(folder).records()]
    return weights(folder), figures


IMAGES, LABELS = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["Training", "Always", "Mapping"])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_step_learns_from_the_main_output_and_by_its_weight_from_the_others(
    networks: Path, name: str, weight: float, compiled: bool
) -> None:
    recipe = Recipe(auxiliary_weight=weight, label_smoothing=0.1, schedule=Schedule(name="constant"), compile=compiled)
    network, reference = built(networks, name), built(networks, name)
    learner = Learner.build(network, recipe, Placement(torch.device("cpu"), torch.float32, False), batches=1)
    sums, _ = build_step(learner, recipe)(IMAGES, LABELS)
    features = reference.features(IMAGES)
    main = F.cross_entropy(reference.head(features), LABELS, label_smoothing=0.1)
    other = F.cross_entropy(reference.auxiliary(features), LABELS, label_smoothing=0.1)
    loss = main + weight * other
    loss.backward()
    torch.testing.assert_close(sums[0], loss.detach() * 8)
    for (path, parameter), (_, expected) in zip(network.named_parameters(), reference.named_parameters(), strict=True):
        if weight or not path.startswith("auxiliary"):
            torch.testing.assert_close(parameter.grad, expected.grad)
        else:  # compiled, it is computed as zeros
            assert parameter.grad is None or (compiled and not parameter.grad.any())


@pytest.mark.parametrize("name", ["Training", "Always", "Mapping"])
def test_without_a_weight_heads_change_nothing_of_a_trial(
    networks: Path, name: str, dataset: Dataset, tmp_path: Path
) -> None:
    """The same body with one head, which draws its weights first, ends in the same figures."""
    figures = trained(make_spec(networks, name), dataset, tmp_path / name)[1]
    assert figures == trained(make_spec(networks, "Plain"), dataset, tmp_path / "plain")[1]
    with_heads = trained(make_spec(networks, name, auxiliary_weight=0.3), dataset, tmp_path / "weighed")[1]
    assert with_heads != figures
    logits = TrialFolder(tmp_path / name).predictions()
    assert logits is not None
    assert logits.shape == (len(dataset.test), 3)


def test_trials_from_before_the_weight_are_still_the_same(networks: Path) -> None:
    spec = make_spec(networks, "Plain")
    before = spec.to_json()
    for part, later in LATER.items():
        for key in later:
            del before[part][key]
    kept = {k: v for k, v in before.items() if k not in WHEREFORE and (k != "as" or v)}
    assert TrialSpec.from_json(before).identity() == spec.identity() == identity_digest(kept)
    assert spec.identity() != make_spec(networks, "Plain", auxiliary_weight=0.3).identity()


@pytest.mark.parametrize("name", ["Always", "Mapping", "Silent", "Counting", "Saving"])
def test_the_model_and_the_activation_maps_are_those_of_the_logits(
    networks: Path, name: str, dataset: Dataset, tmp_path: Path
) -> None:
    list(run_trial(make_spec(networks, name, epochs=1), dataset, tmp_path / "t"))
    network, normalisation = TrialFolder(tmp_path / "t").network(3, dataset.shape), measure(dataset.train.images)
    assert network is not None
    images = dataset.test.images[:5]
    normalised = apply(images, normalisation)
    with torch.no_grad():
        output = network(normalised)
    logits = output["logits"] if isinstance(output, dict) else output[0] if isinstance(output, tuple) else output
    maps = activation_maps(network, normalised, logits.argmax(1))
    assert maps.shape == (5, 16, 16)
    save_model(network, normalisation, dataset.classes, images[:2], tmp_path / "model")
    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    torch.testing.assert_close(loaded(images), logits)


@pytest.mark.parametrize(
    ("name", "recipe", "words"),
    [
        ("Training", {}, "returns 1 auxiliary output in training mode, which is ignored"),
        ("Training", {}, "2 parameters got no gradient (auxiliary.weight and auxiliary.bias)"),
        ("Mapping", {"auxiliary_weight": 0.4}, "times trainer.auxiliary_weight (0.4)"),
        ("Plain", {"auxiliary_weight": 0.4}, "trainer.auxiliary_weight has no effect on Plain"),
        ("Maps", {}, "returns 1 auxiliary output in training mode, which is ignored"),
        ("Unused", {}, "(forgotten.weight and forgotten.bias): not trained"),
    ],
)
def test_what_is_done_with_outputs_and_parameters_is_said(
    networks: Path, name: str, recipe: dict, words: str, dataset: Dataset, tmp_path: Path
) -> None:
    assert words in check({"variants": [f"{networks}:{name}"], "trainer": recipe}, dataset, tmp_path)


REFUSED: list[tuple[str, dict, str]] = [
    ("Maps", {"auxiliary_weight": 0.3}, "1 of 1 auxiliary outputs of Maps are no logits"),
    (
        "Ghost",
        {"batch_size": 32},
        r"Ghost: a training step with 12 images fails: .*shape .*drop_last: true",
    ),
    ("Ghost", {"batch_size": 20}, r"Ghost: a training step with 20 images fails: .*with 16 images it works"),
    ("Broken", {}, "a training step with"),
    ("Detached", {}, "its output has no gradient"),
    ("NoGrad", {}, "its output has no gradient"),
    ("Unlearned", {}, "no parameters to train"),
    (
        "Holding",
        {},
        r"_extra_state'\]\['settings'\]\['holder'\] is of the kind .*Holder, which a checkpoint",
    ),
]


@pytest.mark.parametrize(("name", "recipe", "words"), REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_starts(
    networks: Path, name: str, recipe: dict, words: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ExperimentError, match=words) as refused:
        check({"variants": [f"{networks}:{name}"], "trainer": recipe}, dataset, tmp_path)
    assert len(refused.value.problems) == 1
    assert name in refused.value.problems[0]


def test_a_ghost_batch_norm_trains_where_all_batches_divide(networks: Path, dataset: Dataset, tmp_path: Path) -> None:
    recipe = {"batch_size": 32, "drop_last": True}
    assert "step" not in check({"variants": [f"{networks}:Ghost"], "trainer": recipe}, dataset, tmp_path)
    list(run_trial(make_spec(networks, "Ghost", **recipe), dataset, tmp_path / "t"))


def test_a_draw_that_cannot_take_the_step_is_replaced_once_the_launch_has_begun(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    save_packed(dataset, tmp_path / "data.pt")
    tree = {"name": "x", "dataset": {"name": str(tmp_path / "data.pt")}, "variants": [f"{networks}:Ghost"]}
    tree["trainer"] = {"batch_size": 36 - 4, "drop_last": True}
    checked = check_experiment(read_experiment(tree, "x"), tmp_path, lambda _: None)
    checked.networks.begun = True
    assert not checked.networks.broken(make_spec(networks, "Ghost", batch_size=48, drop_last=True))
    [broken] = checked.networks.broken(make_spec(networks, "Ghost", batch_size=20))
    assert "a training step with 20 images fails" in broken.reason


@pytest.mark.parametrize("name", ["Silent", "Counting", "Saving"])
def test_a_state_of_its_own_is_kept_to_the_bit_through_a_stop(
    networks: Path, name: str, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(networks, name, epochs=4)
    whole = trained(spec, dataset, tmp_path / "whole")
    for _ in range(2):
        running = run_trial(spec, dataset, tmp_path / "cut")
        next(running)
        running.close()
    assert trained(spec, dataset, tmp_path / "cut") == whole
    best = checkpoint.load(TrialFolder(tmp_path / "cut").best)["network"]
    again = TrialFolder(tmp_path / "cut").network(3, dataset.shape)
    assert again is not None
    assert not again.training
    assert checkpoint.content_digest(dict(again.state_dict())) == checkpoint.content_digest(best)


def test_a_state_that_becomes_an_object_ends_the_trial_with_its_place() -> None:
    recipe = Recipe(epochs=1)

    class Measuring(nn.Linear):
        mean: Any = 0.5

        def get_extra_state(self) -> Any:
            return self.mean

    network = Measuring(3, 3)
    learner = Learner.build(network, recipe, place(recipe, network), batches=1)
    assert learner.weights()["_extra_state"] == 0.5
    network.mean = np.float64(1)
    with pytest.raises(CheckpointError, match=r"state_dict\['_extra_state'\] is of the kind numpy.float64"):
        learner.weights()


class Marked(nn.Module):
    """Draws from everything, counts, has running statistics, and holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 4)
        self.lock, self.own, self.calls = threading.Lock(), torch.Generator().manual_seed(3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        drawn = torch.rand(1, generator=self.own, device="cpu").item() + random.random() + np.random.rand()
        return self.head(F.dropout(self.norm(x).mean((2, 3)), 0.5, self.training)) * drawn


@pytest.mark.parametrize("macs", [0, int(QUICK)])
def test_trying_a_step_changes_nothing(macs: int) -> None:
    network = Marked().eval()

    def state() -> tuple:
        kept = {k: v.clone() for k, v in network.state_dict().items()}
        numpy = np.random.get_state()
        return (
            checkpoint.content_digest(kept),
            *(network.training, network.calls, [p.grad for p in network.parameters()]),
            *(random.getstate(), numpy[1].tolist(), numpy[2]),
            *(torch.get_rng_state().tolist(), network.own.get_state().tolist()),
        )

    before = state()
    assert try_step(network, Marked, (3, 6, 6), 4, 5, macs // 15) == Tried()
    assert state() == before


def test_a_large_step_is_judged_by_shapes_and_never_refused_for_them_alone() -> None:
    class Asking(nn.Linear):
        """Needs values to decide; it fails for an odd number of images."""

        def forward(self, x: Tensor) -> Tensor:
            assert x.sum().item() is not None
            return super().forward(x.view(-1, 2, 12)).flatten(0, 1)

    shape, asking = (3, 2, 2), Asking(12, 4)
    fitting = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Unflatten(0, (-1, 2)), nn.Flatten(0, 1))
    huge = int(MOST)  # multiply-accumulates: this is tried on the meta device or not at all
    for macs in (huge, 0):  # what is not counted may take memory as well
        assert attempt(fitting, shape, 4, 50_000_000, macs) == Tried()  # on a CPU it would take gigabytes
    assert "meta device" in attempt(fitting, shape, 4, 5, huge).untried
    assert "meta device" in attempt(asking, shape, 4, 4, huge).untried
    middle = int(QUICK)
    assert attempt(asking, shape, 4, 4, middle) == Tried()
    assert "invalid for input" in attempt(asking, shape, 4, 5, middle).problem


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_built_in_networks_can_be_trained_with_any_batch_of_more_than_one_image(variant: str) -> None:
    """So a step of theirs is not tried, which would import torch's compiler."""
    for side, sizes in ((32, (2, 3, 33, 128)), (8, (2, 3))):
        with contextlib.suppress(VariantError):  # too small for some of them
            network = build_network(variant, {}, 10, (3, side, side))
            for images in sizes:
                assert attempt(network, (3, side, side), 10, images, int(QUICK)) == Tried()


@pytest.mark.parametrize("problem", [MemoryError(), torch.OutOfMemoryError("CUDA"), OSError("no such file")])
def test_what_this_machine_lacks_refuses_no_network(problem: Exception) -> None:
    class Lacking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise problem

    tried = attempt(Lacking(3, 3), (3, 1, 1), 3, 2, 0)
    assert type(problem).__name__ in tried.untried
    assert not tried.problem


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "count"), [("googlenet", 64, 2), ("inception_v3", 299, 1)])
def test_torchvisions_networks_with_heads_train(name: str, size: int, count: int) -> None:
    import torchvision

    network = getattr(torchvision.models, name)(weights=None, init_weights=False, num_classes=3)
    assert attempt(network, (3, size, size), 3, 2, int(QUICK), 0.3) == Tried(auxiliary=count)
    unfit = ((1, 32), "Expected more than 1 value") if name == "googlenet" else ((2, 80), "Output size is too small")
    (images, side), words = unfit
    assert words in attempt(network, (3, side, side), 3, images, int(QUICK)).problem
    recipe = Recipe(auxiliary_weight=0.3)
    learner = Learner.build(network, recipe, place(recipe, network), batches=1)
    sums, updated = build_step(learner, recipe)(torch.randn(2, 3, size, size), torch.tensor([0, 2]))
    assert updated
    assert sums.isfinite().all()


def test_weights_that_a_function_holds_are_those_of_the_network() -> None:
    """A copy's functions would still use the weights of the network that was copied."""

    def build() -> nn.Module:
        scale = nn.Parameter(torch.ones(3))
        network = Lambda(lambda x: x.mean((2, 3)) * scale)
        network.scale = scale
        return network

    for macs in (0, int(QUICK)):
        network = build()
        assert try_step(network, build, (3, 2, 2), 3, 2, macs) == Tried()
        assert all(parameter.grad is None for parameter in network.parameters())
