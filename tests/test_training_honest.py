"""A trial is never silently wrong: what is not a number, what is drawn at random, a batch of one, skipped steps."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lambda
from driving import orchestrator
from torch import nn
from torch.nn import functional as F
from trained import check, weights

from orchestrator import records as keys
from orchestrator.architectures.probe import Behaviour, probe
from orchestrator.architectures.unregistered import unregistered
from orchestrator.data import Dataset, Split, save_packed
from orchestrator.errors import DivergedError, ExperimentError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Failure, Record, Status
from orchestrator.spec import Optimizer, Recipe, Schedule, TrialSpec
from orchestrator.training import device
from orchestrator.training.batches import Batches
from orchestrator.training.device import Placement
from orchestrator.training.learner import Learner
from orchestrator.training.step import build_step
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.check import check_experiment
from orchestrator.workflow.networks import behaviour_notes

NETWORKS = """
import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(1)
random.seed(1)


class Plain(nn.Module):
    def __init__(self, num_classes=3, width=6):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, width, 3, stride=4), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.net(x).mean((2, 3)))


class Pooled(Plain):
    def __init__(self, num_classes=3):
        super().__init__(num_classes)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        return self.head(self.norm(self.net(x).mean((2, 3))))


class Broken(Plain):
    broken = float("nan")

    def forward(self, x):
        return super().forward(x) * (1.0 if self.training or len(x) == 2 else self.broken)


class Infinite(Broken):
    broken = float("inf")


class Dropping(Plain):
    def forward(self, x):
        return self.head(F.dropout(self.net(x).mean((2, 3)), 0.5))


class Skipping(Plain):
    def forward(self, x):
        features = self.net(x).mean((2, 3))
        if self.training and random.random() < 0.5:
            features = features * np.random.rand()
        return self.head(features)


class Importing(Plain):
    def __init__(self, num_classes=3):
        import helper_that_draws
        super().__init__(num_classes)


torch.randn(100)
np.random.rand(7)
"""


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "helper_that_draws.py").write_text("import torch\ntorch.manual_seed(5)\ntorch.randn(3)\n")
    return tmp_path / "networks.py"


def make_spec(networks: Path, name: str, seed: int = 0, **recipe: object) -> TrialSpec:
    return TrialSpec(variant=f"{networks}:{name}", seed=seed, trainer=Recipe(epochs=3, batch_size=32, **recipe))


@pytest.mark.parametrize("protocol", ["validation", "published"])
@pytest.mark.parametrize("name", ["Broken", "Infinite"])
def test_logits_that_are_not_finite_in_evaluation_end_the_trial(
    networks: Path, name: str, protocol: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match=r"logits of .* images became inf or nan at the evaluation after epoch 1"):
        list(run_trial(make_spec(networks, name, protocol=protocol), dataset, tmp_path / "t"))
    folder = TrialFolder(tmp_path / "t")
    assert folder.outcome().status is Status.FAILED
    assert folder.outcome().failure is Failure.DIVERGED
    assert folder.records() == []
    assert folder.predictions() is None


def test_logits_of_the_test_split_count_as_well(networks: Path, dataset: Dataset, tmp_path: Path) -> None:
    """The network fails on what is brighter than everything that it was trained and judged on."""
    networks.write_text(NETWORKS.replace("len(x) == 2", "x.max() < 50"))
    images = dataset.test.images.clone()
    images[0] = 255
    dark = Split(
        dataset.train.images // 32 + torch.arange(8).view(1, 1, 1, 8).repeat(1, 1, 1, 2).byte(), dataset.train.labels
    )
    odd = Dataset("odd", dark, Split(images, dataset.test.labels), dataset.classes)
    with pytest.raises(DivergedError, match="test split"):
        list(run_trial(make_spec(networks, "Broken"), odd, tmp_path / "t"))
    assert not any(keys.TEST_ACCURACY in record.metrics for record in TrialFolder(tmp_path / "t").records())
    assert TrialFolder(tmp_path / "t").predictions() is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_record_holds_numbers_only(value: float) -> None:
    with pytest.raises(ValueError, match="val/accuracy"):
        Record(1, 0.0, {keys.VAL_ACCURACY: value})
    plain = json.loads(
        json.dumps({"epoch": 1, "time": 0.0, "final": False, "metrics": {keys.VAL_ACCURACY: str(value)}})
    )
    with pytest.raises(TypeError, match="val/accuracy"):
        Record.from_json(plain)


def test_dropout_that_is_active_in_evaluation_is_measured_the_same_every_time_and_said(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(networks, "Dropping")
    ways = []
    for way in ("whole", "resumed"):
        running = run_trial(spec, dataset, tmp_path / way)
        if way == "resumed":  # the random state at the second half is another one
            next(running)
            running.close()
            torch.manual_seed(99)
            running = run_trial(spec, dataset, tmp_path / way)
        list(running)
        ways.append(TrialFolder(tmp_path / way))
    whole, resumed = ways
    assert torch.equal(whole.predictions(), resumed.predictions())
    figures = [[r.metrics.get(keys.VAL_ACCURACY) for r in folder.records()] for folder in ways]
    assert figures[0] == figures[1]
    save_packed(dataset, tmp_path / "data.pt")
    tree = {"name": "x", "variants": [spec.variant], "dataset": {"name": str(tmp_path / "data.pt")}}
    said: list[str] = []
    checked = check_experiment(read_experiment(tree, "x"), tmp_path, said.append)
    assert any("Dropping draws random numbers in evaluation mode" in line for line in said)
    assert checked.notes


@pytest.mark.parametrize(
    ("network", "varies", "batch"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()), False, True),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)), False, True),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)), False, False),
    ],
)
def test_what_a_network_does_with_a_batch_is_found_by_trying(network: nn.Module, varies: bool, batch: bool) -> None:
    seen = probe(network, (3, 8, 8))
    assert (seen.varies_in_evaluation, seen.uses_batch_statistics) == (varies, batch)


def test_functions_are_found_like_layers() -> None:
    class Functional(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(F.batch_norm(x, None, None, training=True))

    seen = probe(Functional(), (3, 8, 8))
    assert seen.varies_in_evaluation
    assert seen.uses_batch_statistics


@pytest.mark.parametrize("name", ["Plain", "Skipping", "Importing"])
def test_weights_do_not_depend_on_what_the_process_did_before(
    networks: Path, name: str, dataset: Dataset, tmp_path: Path
) -> None:
    """The first trial of a fresh process, which imports the file, and a later one give the same bits."""
    spec = make_spec(networks, name)
    list(run_trial(spec, dataset, tmp_path / "first"))
    list(run_trial(spec, dataset, tmp_path / "second"))
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_json()))
    save_packed(dataset, tmp_path / "data.pt")
    code = (
        "import torch; torch.set_num_threads(1); from pathlib import Path; import json;"
        "from orchestrator.data.packed import load_packed; from orchestrator.spec import TrialSpec;"
        "from orchestrator.trial import run_trial;"
        "spec = TrialSpec.from_json(json.loads(Path('spec.json').read_text()));"
        "list(run_trial(spec, load_packed(Path('data.pt'), 'tiny'), Path('fresh')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=os.environ)
    assert weights(tmp_path / "first") == weights(tmp_path / "second") == weights(tmp_path / "fresh")


def test_two_seeds_start_from_different_weights_although_the_file_sets_one(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    for seed in (0, 1):
        list(run_trial(make_spec(networks, "Plain", seed), dataset, tmp_path / str(seed)))
    assert weights(tmp_path / "0") != weights(tmp_path / "1")


def test_layers_skipped_by_other_generators_resume_to_the_same_bits(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(networks, "Skipping")
    list(run_trial(spec, dataset, tmp_path / "whole"))
    running = run_trial(spec, dataset, tmp_path / "cut")
    next(running)
    running.close()
    list(run_trial(spec, dataset, tmp_path / "cut"))
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


def test_a_last_batch_of_one_is_refused_where_it_cannot_be_normalised(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Of 120 images 12 are held out: 108 = 107 + 1."""
    tree: dict = {"variants": [f"{networks}:Pooled"], "trainer": {"batch_size": 107}}
    with pytest.raises(ExperimentError, match=r"Pooled: a training step with 1 image fails: .*of 108 training images"):
        check(tree, dataset, tmp_path)
    searched = {**tree, "trainer": {}, "search": {"samples": 1, "space": {"trainer.batch_size": {"choice": [107]}}}}
    with pytest.raises(ExperimentError, match="drop_last"):
        check(searched, dataset, tmp_path)
    with pytest.raises(ExperimentError, match=r"with 1 image fails.*; with 2 images it works: set another batch_size"):
        check({**tree, "trainer": {"batch_size": 1}}, dataset, tmp_path)
    for mend in ({"batch_size": 107, "drop_last": True}, {"batch_size": 106}):
        assert "batch" not in check({**tree, "trainer": mend}, dataset, tmp_path)
    with pytest.raises(ExperimentError, match="leaves nothing: 108 training images"):
        check({**tree, "trainer": {"batch_size": 109, "drop_last": True}}, dataset, tmp_path)


def test_a_batch_of_one_that_works_and_one_of_all_images_are_said(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Over the positions of a map one image can be normalised, as in torch."""
    tree: dict = {"variants": [f"{networks}:Plain"]}
    said = check({**tree, "trainer": {"batch_size": 107}}, dataset, tmp_path)
    assert "Plain normalises by the statistics of a batch, and of 108 training images the last batch of 107" in said
    assert "those of that image" in check({**tree, "trainer": {"batch_size": 1}}, dataset, tmp_path)
    said = check({**tree, "trainer": {"batch_size": 100_000, "epochs": 7}}, dataset, tmp_path)
    assert "trainer.batch_size is 100,000, and there are 108 training images: an epoch is one step" in said
    assert "the whole training 7 steps" in said


def test_train_refuses_it_as_well(networks: Path, dataset: Dataset, tmp_path: Path) -> None:
    save_packed(dataset, tmp_path / "data.pt")
    arguments = ["train", f"{networks}:Pooled", "--dataset", str(tmp_path / "data.pt"), "--batch-size", "107"]
    ended = orchestrator(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert "drop_last" in ended.stderr


def test_dropping_the_last_batch_counts_steps_and_images_without_it(
    networks: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(networks, "Plain", drop_last=True, schedule=Schedule(name="onecycle"))
    indices, sizes = torch.arange(108), []
    placement = Placement(torch.device("cpu"), torch.float32, channels_last=False)
    from orchestrator.data import build_augmentation, measure

    identity = build_augmentation((), seed=0, mean=(0.5, 0.5, 0.5), shape=dataset.shape)

    batches = Batches(dataset.train, indices, 32, 0, identity, measure(dataset.train.images), placement, drop_last=True)
    seen = []
    for epoch in (1, 2):
        for images, _ in batches.epoch(epoch):
            sizes.append(len(images))
        seen.append(torch.randperm(108))
    assert sizes == [32] * 6
    assert (len(batches), batches.images) == (3, 96)
    records = list(run_trial(spec, dataset, tmp_path / "t"))
    lowest = 0.1 / 25 / 10_000
    assert records[-2].metrics[keys.LR] == pytest.approx(lowest, rel=1e-3)  # the schedule came to its end


def test_the_schedule_waits_when_the_gradient_scaler_skips_a_step() -> None:
    recipe = Recipe(epochs=1, optimizer=Optimizer(lr=0.1), schedule=Schedule(name="onecycle"))
    placement = Placement(torch.device("cpu"), torch.float32, channels_last=False)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
    learner = Learner.build(network, recipe, placement, batches=10)
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=10**6)
    step = build_step(learner, recipe)
    images, labels = torch.randn(8, 3, 4, 4), torch.arange(8) % 3
    updates, rates, weights = [], [], []
    while not any(updates):
        rates.append(learner.learning_rate.value)
        weights.append(network[1].weight.detach().clone())
        updated = step(1e3 * images, labels)[1]
        updates.append(updated)
        if updated:
            learner.learning_rate.after_batch()
        assert torch.equal(weights[-1], network[1].weight) is not updated
    assert len(updates) > 2
    assert len(set(rates)) == 1  # until the first update
    assert learner.learning_rate.value != rates[0]


def test_threads_are_part_of_a_plan_and_of_identity(networks: Path) -> None:
    def threads(**more: object) -> set:
        tree = {"name": "x", "variants": ["stride"], **more}
        plan = make_plan(read_experiment(tree, "x"))
        return {plan.experiment.trainer.threads, *(spec.trainer.threads for spec in plan.trials)}

    assert threads() == {1}
    assert threads(resources={"cpus": 2.5}) == {2}
    assert threads(resources={"cpus": 0.5}) == {1}
    assert threads(trainer={"threads": 3}, resources={"cpus": 2}) == {3}
    one, two = (make_spec(networks, "Plain", threads=count).identity() for count in (1, 2))
    assert one != two


@pytest.mark.parametrize("threads", [1, 2])
def test_a_trial_runs_with_the_threads_that_it_says_and_leaves_the_process_as_it_was(
    networks: Path, threads: int, dataset: Dataset, tmp_path: Path
) -> None:
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.deterministic
    for _ in run_trial(make_spec(networks, "Plain", threads=threads), dataset, tmp_path / "t"):
        assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == (threads, 1)
    assert TrialFolder(tmp_path / "t").facts()["machine"]["threads"] == str(threads)
    after = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.deterministic
    assert after == before


def test_logits_that_are_not_finite_are_no_random_draws() -> None:
    assert not probe(Lambda(lambda x: x.mean((2, 3)) * float("nan")), (3, 8, 8)).varies_in_evaluation
    assert probe(Lambda(lambda x: F.dropout(x.mean((2, 3)))), (3, 8, 8)).varies_in_evaluation


def test_a_network_that_changes_its_input_draws_no_random_numbers() -> None:
    assert not probe(Lambda(lambda x: x.mul_(0.5).add_(1).mean((2, 3))), (3, 8, 8)).varies_in_evaluation


class Listing(nn.Module):
    """Holds its layers in ``holder``, and a layer that torch knows of in a list as well."""

    def __init__(self, holder: Any) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.also, self.activations = [self.body[0]], [nn.ReLU()]
        self.holder = holder


@pytest.mark.parametrize(
    "holder",
    [
        [nn.Conv2d(3, 4, 3)],
        {"first": (nn.Linear(3, 4), nn.ReLU())},
        [[nn.Sequential(nn.ReLU(), nn.Linear(3, 4))]],
        [nn.Parameter(torch.zeros(3))],
    ],
)
def test_layers_that_torch_does_not_know_of_are_said(holder: Any) -> None:
    network = nn.Sequential(Listing(holder))
    assert unregistered(network) == ("0.holder",)
    [said] = behaviour_notes("Listing", Behaviour(False, False, unregistered(network)))
    assert "Listing holds layers or parameters that torch does not know of, in 0.holder: they are not trained" in said


@pytest.mark.parametrize("holder", [nn.ModuleList([nn.Linear(3, 4)]), nn.ParameterList([torch.zeros(3)]), [1, "a"]])
def test_layers_that_torch_knows_of_are_not(holder: Any) -> None:
    assert not unregistered(Listing(holder))


def test_a_trial_that_moved_says_in_what_it_was_computed(
    networks: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that takes it up multiplies bfloat16 itself; the facts are those of the whole trial."""

    def computed_in() -> str:
        return str(TrialFolder(tmp_path / "t").facts()["machine"][keys.COMPUTED_IN])

    spec = make_spec(networks, "Plain")
    monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: False)
    running = run_trial(spec, dataset, tmp_path / "t")
    next(running)
    running.close()
    assert computed_in() == "float32 on cpu"
    monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: True)
    list(run_trial(spec, dataset, tmp_path / "t"))
    assert computed_in() == "float32 on cpu, then bfloat16 on cpu"
    list(run_trial(spec, dataset, tmp_path / "whole"))
    assert TrialFolder(tmp_path / "whole").facts()["machine"][keys.COMPUTED_IN] == "bfloat16 on cpu"
