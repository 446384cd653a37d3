"""After a trial has ended nothing of it is alive, without Python's garbage collector: a worker trains many."""

import gc
import importlib
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from replaying import Graph, Stream, replay_on_cpu
from torch import Tensor, nn

from orchestrator.data import Dataset, Split
from orchestrator.data.normalisation import Normalisation
from orchestrator.spec import DatasetSpec, Optimizer, Recipe, Schedule, TrialSpec
from orchestrator.training.batches import Batches
from orchestrator.training.cuda_graph import GraphedCallable
from orchestrator.training.device import place
from orchestrator.training.evaluate import Evaluation
from orchestrator.training.learner import Learner
from orchestrator.trial import run_trial

KINDS = (nn.Module, Tensor, torch.optim.Optimizer, Learner, Batches, Evaluation, GraphedCallable, Graph)
NETWORK = """
import torch
from torch import nn

class Fine(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Fails(Fine):
    def forward(self, x):
        y = super().forward(x)
        if not self.training:
            try:
                y.no_such_method()
            except AttributeError as problem:
                raise ValueError("in evaluation") from problem
        return y

class Diverges(Fine):
    def forward(self, x):
        return super().forward(x) * float("nan")
"""


def images() -> Dataset:
    stream = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=stream)
        return Split(pixels, torch.randint(0, 10, (count,), generator=stream))

    return Dataset("random", split(40), split(10), tuple("abcdefghij"), split(10))


@pytest.fixture
def uncollected() -> Iterator[None]:
    importlib.import_module("torch._dynamo")  # as a worker does first: while it is imported it keeps who asked for it
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[type]:
    return Counter(type(thing) for thing in gc.get_objects() if issubclass(type(thing), KINDS))


def end(kind: str, spec: TrialSpec, dataset: Dataset, folder: Path) -> str:
    """Run a trial to its end, which the scheduler makes for ``stopped``. Returns what it raised."""
    running = run_trial(spec, dataset, folder)
    try:
        if kind == "stopped":
            next(running)
            running.close()
        else:
            list(running)
    except Exception as problem:
        return str(problem)
    return ""


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", ["Fine", "stopped", "Fails", "Diverges"])
def test_nothing_of_a_trial_outlives_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "networks.py").write_text(NETWORK)
    variant = f"{tmp_path}/networks.py:{kind if kind != 'stopped' else 'Fine'}"
    recipe = Recipe(
        epochs=2,
        batch_size=16,
        device="cpu",
        threads=1,
        optimizer=Optimizer(name="muon", lr=0.01),
        schedule=Schedule(name="onecycle"),
        augmentation=({"HorizontalFlip": {"p": 0.5}},),
    )
    spec, dataset = TrialSpec(variant=variant, dataset=DatasetSpec(validation=0.2), trainer=recipe), images()
    others = alive()  # what other tests have left in this process
    assert bool(end(kind, spec, dataset, tmp_path / "first")) == (kind in ("Fails", "Diverges"))
    before = alive()
    for number in range(3):
        end(kind, replace(spec, seed=number), dataset, tmp_path / str(number))
    assert alive() - before == Counter()
    assert not [kind for kind in before - others if issubclass(kind, nn.Module)]


@pytest.mark.usefixtures("uncollected")
def test_a_recorded_evaluation_goes_with_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    replay_on_cpu(monkeypatch)
    network, judged = nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), images().test
    placement = place(Recipe(device="cpu"), network)
    evaluation = Evaluation(network, judged.images, 10, Normalisation((0.5,) * 3, (0.5,) * 3), placement, 4, seed=0)
    forward = evaluation._run.__self__  # type: ignore[attr-defined]
    expected = evaluation()
    graphed = GraphedCallable("the evaluation", forward.compute, forward.probe, network, (evaluation.logits,))
    evaluation._run = graphed
    assert evaluation().equal(expected)
    watched = [weakref.ref(thing) for thing in (evaluation, graphed, *graphed.graphs.values(), network)]
    assert len(watched) == 4
    del evaluation, graphed, forward, network
    assert [reference() for reference in watched] == [None] * 4


def test_every_recording_is_prepared_on_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    replay_on_cpu(monkeypatch)
    total, made = torch.zeros(1), Stream.made
    for _ in range(3):
        graphed = GraphedCallable("a sum", lambda size: total.add_(size), lambda size: None, nn.Linear(1, 1), (total,))
        for size in (1, 2):
            graphed(size)
        assert graphed.problem is None
    assert total.item() == 9
    assert Stream.made - made <= 1  # none, if a test before this one has asked for it
