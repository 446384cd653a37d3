"""What an epoch persists under Ray: synced where it shall survive, written once; of finished trials nothing is read."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import PATIENCE

from orchestrator.data import Dataset
from orchestrator.data.arrays import to_arrays
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.files import link_folder
from orchestrator.scheduling.checkpoints import find_checkpoints, list_checkpoints, save_checkpoint
from orchestrator.scheduling.session import ray_session
from orchestrator.spec import Plan, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.trial import BackgroundWriter, TrialFolder, run_trial

WIDE = """
import torch.nn as nn

class Wide(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 800), nn.ReLU(), nn.Linear(800, num_classes))

    def forward(self, x):
        return self.net(x)
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "wide.py").write_text(WIDE)
    tree = {
        "name": "small",
        "variants": [f"{tmp_path / 'wide.py'}:Wide"],
        "seeds": [0, 1],
        "trainer": {"epochs": 4, "batch_size": 32},
    }
    return make_plan(read_experiment(tree, "test"))


def written() -> int:
    """Bytes that this process has written so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def told(spec: TrialSpec, place: Path, judged_at: Sequence[int] = ()) -> dict[str, Any]:
    """What the launch tells a worker of a trial."""
    return {
        "name": spec.name,
        "spec": json.dumps(spec.to_json()),
        "measure": True,
        "gpus": 0,
        "uri": None,
        "place": str(place),
        "resume_from": None,
        "judged_at": list(judged_at),
    }


MakeWorker = Callable[..., Any]


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    with ray_session(cpus=1):
        yield


@pytest.fixture
def make_worker(started: None, plan: Plan, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> MakeWorker:
    """Makes a worker of the first trial in this process, as Ray does in another."""
    import ray.tune

    from orchestrator.scheduling.worker import TrialWorker

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    made = ray.tune.with_parameters(TrialWorker, data={"dataset": ray.put(to_arrays(dataset))})
    return lambda place, judged_at=(): made({"trial": told(plan.trials[0], place, judged_at)})


@pytest.mark.ray
def test_an_epoch_writes_one_state_and_syncs_it(
    make_worker: MakeWorker, plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def remembered(handle: int) -> None:
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", remembered)
    place = tmp_path / "launch" / "tune-1" / "Wide_seed-0"
    worker = make_worker(place)
    bytes_written: list[int] = []
    for _ in range(4):
        before = written()
        worker.train()
        worker.writer.wait()
        newest = TrialFolder(list_checkpoints(place)[0])
        bytes_written.append(written() - before)
        for path in (newest.path, *newest.path.rglob("*")):
            assert path.stat().st_ino in synced, path
    state = newest.last.stat().st_size
    worker.stop()
    assert sum(bytes_written) / 4 < 1.3 * state
    assert newest.is_intact()
    last, before_last = map(TrialFolder, list_checkpoints(place))
    assert last.is_measured()
    assert before_last.checkpoint()["epoch"] == 4  # what came after has not changed it
    assert not before_last.is_measured()
    list(run_trial(plan.trials[0], dataset, tmp_path / "alone"))
    ours, alone = (checkpoint.load(folder.best)["network"] for folder in (newest, TrialFolder(tmp_path / "alone")))
    assert checkpoint.content_digest(ours) == checkpoint.content_digest(alone)


@pytest.mark.ray
def test_a_scheduler_judges_only_states_that_are_saved(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.scheduling import worker as module

    goes_on, place = threading.Event(), tmp_path / "tune-1" / "Wide_seed-0"

    def slow(folder: Path, *where: Any) -> Path:
        if TrialFolder(folder).checkpoint()["epoch"] == 3:
            assert goes_on.wait(PATIENCE)
        return save_checkpoint(folder, *where)

    monkeypatch.setattr(module, "save_checkpoint", slow)
    worker = make_worker(place, judged_at=[2])
    assert worker.train()["epoch"] == 1
    for epoch in (2, 3):
        assert worker.train()["epoch"] == epoch
        assert TrialFolder(list_checkpoints(place)[0]).checkpoint()["epoch"] == 2
    goes_on.set()
    assert worker.train()["done"]
    assert TrialFolder(list_checkpoints(place)[0]).is_measured()
    worker.stop()
    assert not list(place.glob("working-*"))


@pytest.mark.ray
def test_an_epoch_that_was_saved_but_never_reported_is_reported_by_the_next_worker(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    """Else MLflow would lack it, and a scheduler would judge a rung by the epoch after it."""
    place = tmp_path / "tune-1" / "Wide_seed-0"
    reported: list[list[int]] = []
    for steps in (2, 2, 1, 2):  # each process gets so far and is then lost
        worker = make_worker(place)
        for _ in range(steps):
            reported.append([record["epoch"] for record in worker.train()["records"]])
        worker.writer.wait()
        worker.stop()
    assert reported == [[1], [2], [2], [3], [3], [3], [4, 4]]
    complete = make_worker(place)
    result = complete.train()
    assert [record["epoch"] for record in result["records"]] == [4, 4]
    assert result["done"]
    complete.stop()


@pytest.mark.parametrize("links", [True, False])
def test_either_copy_of_a_trial_goes_on_alone(
    links: bool, plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refused(*_: Any) -> None:
            raise OSError("no hard links here")

        monkeypatch.setattr(os, "link", refused)
    spec = plan.trials[0]
    writer = BackgroundWriter()
    running = run_trial(spec, dataset, tmp_path / "first", writer=writer)
    next(running), next(running)
    writer.wait()
    (tmp_path / "first" / ".facts.json.x.partial").write_text("a file that is being written")
    TrialFolder(tmp_path / "first").copy_to(tmp_path / "second")
    list(running)
    second = TrialFolder(tmp_path / "second")
    assert not list(second.path.glob(".*"))
    assert [record.epoch for record in second.records()] == [1, 2]
    assert [record.epoch for record in run_trial(spec, dataset, second.path)] == [3, 4, 4]
    ours, theirs = (checkpoint.load(TrialFolder(tmp_path / n).best)["network"] for n in ("first", "second"))
    assert checkpoint.content_digest(ours) == checkpoint.content_digest(theirs)


def test_of_finished_trials_no_checkpoint_is_read(
    plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, begun = plan.trials
    home = tmp_path / "launch" / "trials"
    list(run_trial(done, dataset, home / done.name))
    left = tmp_path / "launch" / "tune-1" / "Wide_seed-1" / "checkpoint_000000"
    running = run_trial(begun, dataset, left)
    next(running)
    running.close()
    loaded, load = [], torch.load

    def remembered(path: Path, **settings: Any) -> Any:
        loaded.append(path)
        return load(path, **settings)

    monkeypatch.setattr(torch, "load", remembered)
    assert find_checkpoints(tmp_path / "launch", plan, {done.name}) == {begun.name: left}
    assert sorted(loaded) == sorted([TrialFolder(left).last, TrialFolder(left).best])  # each once


def test_what_grows_is_not_shared(tmp_path: Path) -> None:
    (tmp_path / "a" / "below").mkdir(parents=True)
    for name in ("log", "old.pt", "below/whole.pt"):
        (tmp_path / "a" / name).write_text("before")
    link_folder(tmp_path / "a", tmp_path / "b", linked=".pt", ignored="old.pt")
    with (tmp_path / "a" / "log").open("a") as log:
        log.write(" and after")
    assert not (tmp_path / "b" / "old.pt").exists()
    assert (tmp_path / "b" / "log").read_text() == "before"
    assert (tmp_path / "b" / "below" / "whole.pt").samefile(tmp_path / "a" / "below" / "whole.pt")
