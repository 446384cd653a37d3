"""The time of a forward pass: measured with the test split, and nothing is changed by it."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from recording import open_runs, record
from torch import Tensor, nn

from orchestrator import records as keys
from orchestrator.data import Dataset, measure
from orchestrator.records import Outcome, Record, Status
from orchestrator.spec import Plan, Recipe, TrialSpec
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.training.device import Placement
from orchestrator.training.forward_time import CPU_BATCH, LEAST, forward_seconds
from orchestrator.trial import TrialFolder, run_trial

ON_CPU = Placement(torch.device("cpu"), torch.float32, channels_last=True)


class Restless(nn.Module):
    """Draws from every global generator and counts its calls, in evaluation mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("in_place", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1), persistent=False)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 3)
        self.seen: list[torch.Size] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.shape)
        self.in_place += 1
        self.replaced = self.replaced + torch.rand(1, device=x.device) + random.random() + float(np.random.rand())
        self.head.weight.data.add_(1)
        return self.head(self.norm(x).mean((2, 3)))


class Picky(nn.Module):
    """Normalises over the batch, whatever the mode: one image has no spread."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("one image has no neighbours")
        return x.mean((2, 3))


def state(network: nn.Module) -> list[tuple[str, bytes]]:
    named = [*network.named_parameters(), *network.named_buffers()]
    return [(name, tensor.detach().cpu().numpy().tobytes()) for name, tensor in named]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_measuring_changes_no_weight_no_buffer_no_mode_and_no_random_state(device: str, dataset: Dataset) -> None:
    network = Restless().train().to(device)
    network.norm.eval()
    before = state(network), torch.get_rng_state(), random.getstate(), np.random.get_state()
    on_cuda = [] if device == "cpu" else [torch.cuda.get_rng_state()]
    placement = Placement(torch.device(device), torch.float32, channels_last=True)
    references = network.in_place, network.replaced, network.head.weight
    found = forward_seconds(network, dataset.test.images, measure(dataset.train.images), placement, 1000)
    assert set(found) == set(keys.FORWARD)
    assert all(seconds > 0 for seconds in found.values())
    assert state(network) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(torch.equal(torch.cuda.get_rng_state(), drawn) for drawn in on_cuda)
    assert random.getstate() == before[2]
    np.testing.assert_equal(np.random.get_state(), before[3])
    assert (network.training, network.norm.training, network.head.training) == (True, False, True)
    assert list(map(id, references)) == list(map(id, (network.in_place, network.replaced, network.head.weight)))
    sizes = [shape[0] for shape in network.seen]
    assert set(sizes) == {1, min(CPU_BATCH, len(dataset.test))}
    assert min(sizes.count(size) for size in set(sizes)) > LEAST


def test_a_network_that_fails_on_one_image_costs_a_note(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    found = forward_seconds(Picky(), dataset.test.images, measure(dataset.train.images), ON_CPU, 16)
    assert set(found) == {keys.FORWARD_SECONDS_BATCHED}
    [note] = caplog.messages
    assert note == (
        "forward_seconds of a batch of 1 image could not be measured: ValueError: one image has no neighbours"
    )


@pytest.mark.parametrize("protocol", ["validation", "published"])
def test_it_is_measured_with_the_test_split_and_is_in_every_file(
    protocol: str, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = TrialSpec(
        variant=f"{network_file}:Tiny", trainer=Recipe(epochs=1, batch_size=32, protocol=protocol, device="cpu")
    )
    [*_, final] = run_trial(spec, dataset, tmp_path / "t")
    assert set(keys.FORWARD) <= final.metrics.keys()
    assert all(keys.varies(name) for name in keys.FORWARD)
    assert TrialFolder(tmp_path / "t").records()[-1] == final
    header, row = (line.split(",") for line in (tmp_path / "t" / "metrics.csv").read_text().splitlines())
    for name in keys.FORWARD:
        assert float(row[header.index(name)]) == final.metrics[name]
    [*_, unmeasured] = run_trial(spec, dataset, tmp_path / "u", measure=False)
    assert not set(keys.FORWARD) & unmeasured.metrics.keys()


def test_measured_later_it_reaches_mlflow_and_the_rows(uri: str, plan: Plan) -> None:
    """Of a search the chosen epoch is recorded first, and the rest of the final record once it is measured."""
    trial, parent = plan.trials[0].name, open_runs(uri, plan).parent_run_id
    whole = record(3, final=True)
    timed = {keys.FORWARD_SECONDS: 0.002, keys.FORWARD_SECONDS_BATCHED: 0.001}
    chosen = Record(3, whole.time, {keys.BEST_EPOCH: whole.metrics[keys.BEST_EPOCH]}, final=True)
    measured = Record(3, whole.time + 1, {**whole.metrics, **timed}, final=True)
    for final in (chosen, measured, measured):  # each by a process of its own
        sink = Sink(open_runs(uri, plan))
        for epoch in (1, 2, 3):
            sink.on_record(trial, record(epoch))
        sink.on_record(trial, final)
        sink.on_end(Outcome(trial, Status.COMPLETE))
        sink.close(Status.COMPLETE)
    [row] = read_trials(connect(uri), parent)
    assert (row.forward_seconds, row.forward_seconds_batched, row.test_accuracy) == (0.002, 0.001, 0.75)
    assert row.planned_epochs == plan.experiment.trainer.epochs
    for name in (*keys.FORWARD, keys.TEST_ACCURACY, keys.BEST_EPOCH):
        assert len(connect(uri).get_metric_history(row.run_id, name)) == 1
