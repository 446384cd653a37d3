"""An epoch's state is written while the next one trains: what is written is what was, and nothing is lost unnoticed."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from torch import nn

from orchestrator.data import Dataset
from orchestrator.files import unsynced, write_text
from orchestrator.records import Record
from orchestrator.spec import Optimizer, Recipe, TrialSpec
from orchestrator.training.checkpoint import content_digest
from orchestrator.training.device import place
from orchestrator.training.learner import Learner
from orchestrator.training.snapshot import snapshot
from orchestrator.trial import BackgroundWriter, TrialFolder, run_trial

KINDS = {
    "contiguous": lambda: torch.randn(2, 3, 4, 5),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "transposed": lambda: torch.randn(3, 4).t(),
    "one number": lambda: torch.tensor(3.0),
    "none": lambda: torch.zeros(0, 4),
    "bfloat16": lambda: torch.randn(5).bfloat16(),
    "whole numbers": lambda: torch.arange(5),
    "flags": lambda: torch.tensor([True, False]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_stays_as_it_was_and_lies_as_the_original(kind: str) -> None:
    live = {"a": KINDS[kind](), "settings": [(1, 0.9), {"deep": [torch.ones(2)]}], "name": "x"}
    before = content_digest(live)
    taken = snapshot(live)
    assert taken["a"].stride() == live["a"].stride() or live["a"].numel() < 2
    live["a"].fill_(0)
    live["settings"][1]["deep"][0] += 1
    live["settings"][1]["deep"].append(2)
    assert content_digest(taken) == before
    assert isinstance(taken["settings"][0], tuple)


def test_a_snapshot_is_written_over_an_earlier_one_where_it_fits() -> None:
    first = snapshot({"same": torch.ones(4), "grown": torch.ones(2), "gone": torch.ones(1)})
    second = snapshot({"same": torch.zeros(4), "grown": torch.zeros(3), "new": torch.zeros(1)}, first)
    assert second["same"].data_ptr() == first["same"].data_ptr()
    assert second.keys() == {"same", "grown", "new"}
    assert all(not tensor.any() for tensor in second.values())
    assert second["grown"].shape == (3,)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.sampled_from(["sgd", "adamw", "muon"]))
def test_a_state_stays_as_it_is_until_the_next_one_is_taken(better: list[bool], optimizer: str) -> None:
    """Whatever epochs are the best so far, with every optimizer: also when the next epoch has been counted already."""
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    recipe = Recipe(epochs=9, optimizer=Optimizer(name=optimizer, lr=0.1))
    learner = Learner.build(network, recipe, place(recipe, network), batches=1)
    accuracy, state, digest = 0.0, None, ""
    for epoch, is_better in enumerate(better, start=1):
        learner.optimizer.zero_grad()
        network(torch.randn(3, 4)).square().sum().backward()
        learner.optimizer.step()
        accuracy += 0.1 * is_better
        learner.keep(Record(epoch, 0.0, {}), accuracy if is_better else 0.0, 1.0)
        assert state is None or content_digest(state) == digest
        state = learner.state_dict()
        digest = content_digest(state)
        live = {key: value.clone() for key, value in network.state_dict().items()}
        assert content_digest(state["network"]) == content_digest(live)
        assert state["best"]["epoch"] == learner.best_epoch
        if is_better:
            assert content_digest(state["best"]["weights"]) == content_digest(live)


def test_writing_takes_turns_and_what_it_raises_is_raised_later(tmp_path: Path) -> None:
    done: list[int] = []
    with BackgroundWriter(lambda: done.append(-1)) as writer:
        for turn in range(3):
            writer.start(lambda turn=turn: done.append(turn))
    assert done == [0, -1, 1, -1, 2, -1]

    def fail() -> None:
        raise OSError("the disk is gone")

    with BackgroundWriter() as writer:
        writer.start(fail)
        with pytest.raises(OSError, match="the disk is gone"):
            writer.start(lambda: done.append(3))
        writer.wait()
    with pytest.raises(OSError, match="the disk is gone"), BackgroundWriter() as writer:
        writer.start(fail)

    def train() -> None:
        with BackgroundWriter() as writer:
            writer.start(fail)
            raise ValueError("the training failed first")

    with pytest.raises(ValueError, match="the training"):
        train()
    assert 3 not in done


def test_it_is_written_beside_the_training_and_as_the_training_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, synced = threading.Event(), []
    monkeypatch.setattr("orchestrator.files.sync", synced.append)
    with BackgroundWriter() as writer:

        def write() -> None:
            assert goes_on.wait(PATIENCE)
            write_text(tmp_path / "state", "whole")

        with unsynced():
            writer.start(write)  # returns although nothing is written yet
        assert not (tmp_path / "state").exists()
        goes_on.set()
    assert (tmp_path / "state").read_text() == "whole"
    assert synced == []


def test_when_a_record_is_there_the_epochs_before_it_are_on_the_disk(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=4, batch_size=32))
    running, folder = run_trial(spec, dataset, tmp_path / "t"), TrialFolder(tmp_path / "t")
    for record in running:
        on_disk = [r.epoch for r in folder.records() if not r.final]
        assert on_disk in (list(range(1, record.epoch)), list(range(1, record.epoch + 1)))
        assert (folder.checkpoint() or {"epoch": 0})["epoch"] >= record.epoch - 1
    assert folder.is_intact()


def test_a_trial_that_is_closed_has_written_all_it_said(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=4, batch_size=32))
    folder = TrialFolder(tmp_path / "t")
    for epoch in (1, 2, 3):
        running: Any = run_trial(spec, dataset, folder.path)
        assert next(running).epoch == epoch
        running.close()
        assert folder.checkpoint()["epoch"] == epoch
        assert [r.epoch for r in folder.records()] == list(range(1, epoch + 1))
