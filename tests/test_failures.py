"""Failures have kinds, and each has its answer: real lost workers, real failed allocations, a really full disk."""

import contextlib
import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import disk
from driving import ORCHESTRATOR, driver, wait_for
from patience import PATIENCE
from trained import weights

from orchestrator import records as keys
from orchestrator.data import Dataset, load_dataset
from orchestrator.errors import DiskFullError, DivergedError, InterruptedLaunchError, StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.files import append_line, write_text
from orchestrator.records import Failure, Listener, Outcome, Record, Status
from orchestrator.scheduling.checkpoint_budget import CheckpointBudget, check_free_space
from orchestrator.scheduling.checkpoints import find_checkpoints
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.session import ray_session
from orchestrator.scheduling.storage import FOLDERS
from orchestrator.spec import Plan, TrialSpec
from orchestrator.trial import BackgroundWriter, TrialFolder, run_trial
from orchestrator.trial.run import kind_of

AILING = '''
import os
import pathlib
import signal
import torch
from networks import Tiny

class Signed(Tiny):
    """Says in a file beside it which process trains it."""

    def forward(self, x):
        pathlib.Path(__file__).with_name("process").write_text(str(os.getpid()))
        return self.net(x)


class Spoiling(Signed):
    """Leaves a process that can take no other trial."""

    def forward(self, x):
        import orchestrator.scheduling.worker as worker

        worker.BackgroundWriter = self.refuse
        return super().forward(x)

    def refuse(self, *arguments):
        pathlib.Path(__file__).with_name("refused").touch()
        raise OSError("planted")


class Hungry(Tiny):
    """Asks for a petabyte as often as the file beside it has dots."""

    def forward(self, x):
        want = os.path.join(os.path.dirname(__file__), "appetite")
        left = pathlib.Path(want).read_text() if self.training and os.path.exists(want) else ""
        if left:
            pathlib.Path(want).write_text(left[1:])
            torch.empty(10**15, dtype=torch.uint8)
        return self.net(x)


class Fragile(Tiny):
    """kill -9 of the process that evaluates it, if there is a file beside it."""

    def forward(self, x):
        if not self.training and pathlib.Path(__file__).with_name("fall").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)


class Mortal(Tiny):
    """kill -9 of the process that trains it, amid an epoch, as often as the file beside it has dots."""

    batches = 0

    def forward(self, x):
        self.batches += self.training
        want = pathlib.Path(__file__).with_name("deaths")
        if self.training and self.batches == 10 and (left := want.exists() and want.read_text()):
            want.write_text(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)
'''

FAULTY = '''
import os
import torch
from networks import Tiny as Whole

class Tiny(Whole):
    """Trains where the device has not been lost: for a process it is lost for good."""

    def forward(self, x):
        if os.environ.get("DEVICE_LOST"):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return self.net(x)


class Faulty(Tiny):
    """Loses it."""

    def forward(self, x):
        if self.training:
            os.environ["DEVICE_LOST"] = "1"
        return super().forward(x)
'''


ENDS = "the launch ends, every trial keeps its last checkpoint; remove old launches or their checkpoints, then resume"


class Heard(Listener):
    def __init__(self) -> None:
        self.ends: list[Outcome] = []
        self.records: list[tuple[str, int]] = []

    def on_record(self, trial: str, record: Record) -> None:
        self.records.append((trial, record.epoch))

    def on_end(self, outcome: Outcome) -> None:
        self.ends.append(outcome)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[dict[str, float]]]:
    with ray_session(cpus=2) as found:
        yield found


@pytest.fixture
def ailing_file(network_file: Path) -> Path:
    file = network_file.with_name("ailing.py")
    file.write_text(f"import sys\nsys.path.insert(0, {str(network_file.parent)!r})\n" + AILING)
    return file


@pytest.fixture
def faulty_file(network_file: Path) -> Path:
    file = network_file.with_name("faulty.py")
    file.write_text(f"import sys\nsys.path.insert(0, {str(network_file.parent)!r})\n" + FAULTY)
    return file


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    with disk(tmp_path / "disk", "1m") as place:
        yield place


def plan_of(variant: str, **settings: object) -> Plan:
    trainer = {"epochs": 5, "batch_size": 16, "optimizer": {"lr": 0.1}}
    return make_plan(
        read_experiment({"name": "f", "variants": [variant], "seeds": [0], "trainer": trainer, **settings}, "x")
    )


def test_every_failure_has_its_kind() -> None:
    assert kind_of(DivergedError("the loss became nan", "epoch 1, step 2")) is Failure.DIVERGED
    assert kind_of(DiskFullError("")) is Failure.DISK_FULL
    assert kind_of(ValueError("x")) is Failure.ERROR
    assert kind_of(torch.OutOfMemoryError("CUDA out of memory")) is Failure.OUT_OF_MEMORY
    for words in (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ):
        assert kind_of(RuntimeError(words)) is Failure.OUT_OF_MEMORY
    with pytest.raises(RuntimeError) as failed:
        torch.empty(10**15, dtype=torch.uint8)
    assert kind_of(failed.value) is Failure.OUT_OF_MEMORY


@pytest.mark.ray
def test_a_worker_lost_amid_an_epoch_is_no_fault_of_the_trial(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "deaths").write_text("...")
    plan = plan_of(f"{ailing_file}:Mortal")
    outcome = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, nodes=nodes))["Mortal/seed-0"]
    assert (tmp_path / "deaths").read_text() == ""  # in the epochs 2, 3 and 4
    assert outcome.status is Status.COMPLETE
    list(run_trial(plan.trials[0], dataset, tmp_path / "alone"))
    assert weights(outcome.folder) == weights(tmp_path / "alone")
    ours, alone = TrialFolder(outcome.folder).records(), TrialFolder(tmp_path / "alone").records()
    assert [(r.epoch, r.final) for r in ours] == [(r.epoch, r.final) for r in alone]
    assert [r.metrics[keys.TRAIN_LOSS] for r in ours[:-1]] == [r.metrics[keys.TRAIN_LOSS] for r in alone[:-1]]


@pytest.mark.ray
@pytest.mark.parametrize("network", ["Signed", pytest.param("Spoiling", marks=pytest.mark.slow)])
def test_a_worker_that_is_lost_while_idle_or_takes_no_trial_fails_none(
    network: str, nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    trainer = {"epochs": 1, "batch_size": 16}
    plan = plan_of(f"{ailing_file}:{network}", seeds=[0, 1], trainer=trainer, failures={"infrastructure": 0})
    first, second = plan.trials
    processes: list[int] = []

    def more(ended: Mapping[str, Outcome]) -> list[TrialSpec]:
        """The second trial, once the first has ended: its worker is idle then, and is to take it."""
        if first.name not in ended or processes:
            return []
        processes.append(int((tmp_path / "process").read_text()))
        if network == "Signed":
            os.kill(processes[0], signal.SIGKILL)
        return [second]

    known = dataclasses.replace(plan, trials=(first,))
    outcomes = run_launch(Launch(known, dataset, tmp_path / "launch", {"CPU": 1.0}, nodes=nodes, more=more))
    said = {name: (outcome.status, outcome.reason) for name, outcome in outcomes.items()}
    assert said == {first.name: (Status.COMPLETE, ""), second.name: (Status.COMPLETE, "")}
    assert int((tmp_path / "process").read_text()) not in processes
    assert (tmp_path / "refused").exists() is (network == "Spoiling")


@pytest.mark.slow
@pytest.mark.ray
def test_a_worker_lost_too_often_fails_the_trial_and_names_the_kind(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "deaths").write_text("...")
    plan = plan_of(f"{ailing_file}:Mortal", failures={"infrastructure": 1})
    outcome = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, nodes=nodes))["Mortal/seed-0"]
    assert (outcome.status, outcome.failure) == (Status.FAILED, Failure.INFRASTRUCTURE)
    assert "its worker was lost" in outcome.reason
    assert (tmp_path / "deaths").read_text() == "."  # twice, and not a third time


@pytest.mark.slow
@pytest.mark.ray
def test_a_worker_lost_while_it_evaluates_fails_the_trial_until_it_is_evaluated(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    plan = plan_of(f"{ailing_file}:Fragile", failures={"infrastructure": 0})
    search = Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, nodes=nodes, measured=lambda _: False)
    found = run_launch(search)["Fragile/seed-0"]
    assert found.status is Status.COMPLETE
    home = TrialFolder(found.folder)
    home.last.unlink()  # as somebody does whose disk is full
    home.previous.unlink(missing_ok=True)
    evaluation = dataclasses.replace(search, resume_from={"Fragile/seed-0": home.path}, measured=lambda _: True)
    (tmp_path / "fall").touch()
    lost = run_launch(evaluation)["Fragile/seed-0"]
    assert (lost.status, lost.failure) == (Status.FAILED, Failure.INFRASTRUCTURE)
    assert "its worker was lost" in lost.reason
    assert home.outcome().status is Status.COMPLETE
    (tmp_path / "fall").unlink()
    trained = [record for record in home.records() if not record.final]
    heard = Heard()
    assert run_launch(dataclasses.replace(evaluation, listeners=[heard]))["Fragile/seed-0"].status is Status.COMPLETE
    assert home.is_measured()
    assert [record for record in home.records() if not record.final] == trained  # none was trained again
    assert {epoch for _, epoch in heard.records} == {5}


@pytest.mark.slow
@pytest.mark.ray
def test_a_device_lost_by_one_trial_fails_no_other(nodes, faulty_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    plan = plan_of(f"{faulty_file}:Faulty", variants=[f"{faulty_file}:{name}" for name in ("Faulty", "Tiny")])
    outcomes = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 2.0}, nodes=nodes))  # one at a time
    failed = outcomes["Faulty/seed-0"]
    assert (failed.status, failed.failure) == (Status.FAILED, Failure.ERROR)
    assert failed.reason.endswith("AcceleratorError: CUDA error: an illegal memory access was encountered")
    assert outcomes["Tiny/seed-0"].status is Status.COMPLETE


@pytest.mark.ray
@pytest.mark.parametrize(
    ("appetite", "status"), [(".", Status.COMPLETE), pytest.param("...", Status.FAILED, marks=pytest.mark.slow)]
)
def test_out_of_memory_is_tried_again_with_a_larger_share(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path, appetite: str, status: Status
) -> None:
    (tmp_path / "appetite").write_text(appetite)
    plan, heard, said = plan_of(f"{ailing_file}:Hungry"), Heard(), []
    launch = Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard], nodes=nodes)
    outcome = run_launch(launch, said.append)["Hungry/seed-0"]
    assert outcome.status is status
    assert [end.status for end in heard.ends] == [status]  # the first failure was not the end
    assert said == ["Hungry/seed-0: out of memory; once more with 2 CPU"]
    if status is Status.FAILED:
        assert outcome.failure is Failure.OUT_OF_MEMORY
        assert TrialFolder(outcome.folder).outcome().failure is Failure.OUT_OF_MEMORY
        assert (tmp_path / "appetite").read_text() == "."  # twice, and not a third time
    else:
        list(run_trial(plan.trials[0], dataset, tmp_path / "alone"))
        assert weights(outcome.folder) == weights(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.ray
def test_a_second_try_that_an_interrupt_prevents_is_made_when_the_launch_is_carried_on(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    class Impatient(Heard):
        def on_start(self, trial: str, epoch: int = 1) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    (tmp_path / "appetite").write_text(".")
    plan, heard = plan_of(f"{ailing_file}:Hungry"), Impatient()
    launch = Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard], nodes=nodes)
    outcome = run_launch(launch)["Hungry/seed-0"]
    assert (tmp_path / "appetite").read_text() == ""
    assert (outcome.status, outcome.reason) == (Status.INTERRUPTED, "")
    assert heard.ends == [outcome]
    assert run_launch(dataclasses.replace(launch, listeners=()))["Hungry/seed-0"].status is Status.COMPLETE


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_storage_that_fails_when_nothing_trains_leaves_a_launch_interrupted(
    interrupted: bool, nodes, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """What is to follow is decided on disk: without that, every known trial has ended, but not the launch."""
    plan = plan_of(f"{network_file}:Tiny", trainer={"epochs": 1, "batch_size": 16})
    [spec] = plan.trials
    asked: list[int] = []

    class Ending(Heard):
        def on_end(self, outcome: Outcome) -> None:
            super().on_end(outcome)
            if interrupted:
                os.kill(os.getpid(), signal.SIGINT)

    def more(ended: Mapping[str, Outcome]) -> list[TrialSpec]:
        asked.extend(len(ended) for _ in ended)
        if asked == [1]:
            raise StorageError("the disk is away")
        return []  # as one that has noted these ends already

    heard, said = Ending(), []
    launch = Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard], nodes=nodes, more=more)
    with pytest.raises(InterruptedLaunchError, match="to be resumed"):
        run_launch(launch, said.append)
    assert asked == [1], "and not once more"
    assert [end.status for end in heard.ends] == [Status.COMPLETE]
    assert TrialFolder(launch.folder / "trials" / spec.name).outcome().status is Status.COMPLETE
    assert not list(launch.folder.glob("attempt*")), "it has been tidied"
    if not interrupted:
        [line] = said
        assert line.startswith("the disk is away: the launch ends, ")


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    write_text(small_disk / "kept.json", "before")
    append_line(small_disk / "log", "whole")
    (small_disk / "filler").write_bytes(b"0" * (1_000_000 - 8_192))
    with pytest.raises(DiskFullError, match=r"kept\.json .*MB free.*remove"):
        write_text(small_disk / "kept.json", "x" * 100_000)
    with pytest.raises(DiskFullError, match="log"):
        append_line(small_disk / "log", "y" * 100_000)
    assert (small_disk / "kept.json").read_text() == "before"
    assert (small_disk / "log").read_text() == "whole\n"
    assert sorted(p.name for p in small_disk.iterdir()) == ["filler", "kept.json", "log"]


def test_a_trial_on_a_full_disk_fails_cleanly_and_carries_on_to_the_same_bits(
    small_disk: Path, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = plan_of(f"{network_file}:Tiny").trials[0]
    list(run_trial(spec, dataset, tmp_path / "whole"))
    writer = BackgroundWriter()
    running = run_trial(spec, dataset, small_disk / "t", writer=writer)
    next(running), next(running)
    writer.wait()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as full:
        while True:
            full.write(b"0" * 4096)
    with pytest.raises(DiskFullError, match="no space left to write"):
        list(running)
    kept = TrialFolder(small_disk / "t").checkpoint()
    assert kept["epoch"] == 2
    filler.unlink()
    assert [r.epoch for r in run_trial(spec, dataset, small_disk / "t")] == [3, 4, 5, 5]
    assert weights(small_disk / "t") == weights(tmp_path / "whole")


def test_free_space_is_checked_before_the_start(small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"1 MB free, but 2 trials need about .* MB: remove old launches"):
        check_free_space(small_disk / "not" / "yet", {"a": 200_000, "b": 200_000}, 2, None)
    check_free_space(tmp_path, {"a": 200_000}, 1, None)


@pytest.mark.parametrize(("protocol", "judged"), [("validation", keys.VAL_ACCURACY), ("published", keys.TEST_ACCURACY)])
def test_a_budget_takes_the_losers_and_keeps_the_winners(
    network_file: Path, dataset: Dataset, tmp_path: Path, protocol: str, judged: str
) -> None:
    trainer = {"epochs": 2, "batch_size": 32, "optimizer": {"lr": 0.3}, "protocol": protocol}
    plan = plan_of(f"{network_file}:Tiny", seeds=[2, 1, 0], trainer=trainer)
    best: dict[str, float] = {}
    for spec in plan.trials:
        records = list(run_trial(spec, dataset, tmp_path / "working" / spec.name))
        TrialFolder(tmp_path / "working" / spec.name).copy_to(tmp_path / spec.name)
        best[spec.name] = max(r.metrics.get(judged, 0.0) for r in records)
    one = FOLDERS.size(tmp_path / plan.trials[0].name / "checkpoints")
    budget = CheckpointBudget(plan, limit=int(2.5 * one))
    for spec in plan.trials:
        budget.add(TrialFolder(tmp_path / spec.name).outcome())
    winner = max(best, key=lambda name: best[name]) if protocol == "validation" else plan.trials[0].name
    order = [*sorted(best.keys() - {winner}, key=lambda name: (best[name], name)), winner]
    assert budget.keep() == order[:1]
    assert CheckpointBudget(plan, None).keep() == []
    budget.limit = 1
    assert budget.keep() == order[1:2]
    assert FOLDERS.size(tmp_path / order[-1] / "checkpoints") > 0  # the winner stays, whatever the budget
    for name in order:
        assert len(TrialFolder(tmp_path / name).records()) == 3


@pytest.mark.slow
@pytest.mark.ray
def test_a_budget_counts_the_last_trial_and_those_of_earlier_attempts(
    network_file: Path, packed: Path, tmp_path: Path
) -> None:
    text = f"name: small\nvariants: ['{network_file}:Tiny']\ndataset: {{name: '{packed}'}}\ntrainer: {{epochs: 2}}\n"
    (tmp_path / "small.yaml").write_text(text)

    def kept(*settings: str) -> int:
        """How many trials have checkpoints after the launch with these settings."""
        command = [ORCHESTRATOR, "run", "small.yaml"]
        command += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
        return len(list(tmp_path.glob("storage/small/*/trials/Tiny/*/checkpoints/best.pt")))

    assert kept("seeds=[0,1]", "max_checkpoint_bytes=1") == 1
    assert kept("seeds=[2,3]") == 1 + 2
    assert kept("seeds=[2,3]", "max_checkpoint_bytes=1") == 1 + 1


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("place", ["rungs.jsonl", "trials"])
def test_a_storage_that_fails_the_driver_ends_the_launch_and_resuming_completes_it(
    place: str, nodes, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    launch = tmp_path / "launch"

    class Spoiling(Heard):
        def on_record(self, trial: str, record: Record) -> None:
            if record.epoch == 2 and not (launch / "moved").exists():
                with contextlib.suppress(FileNotFoundError):
                    (launch / place).rename(launch / "moved")
                (launch / place).mkdir() if place == "rungs.jsonl" else (launch / place).write_text("")

    plan = plan_of(f"{network_file}:Tiny", scheduler={"name": "asha", "grace_period": 1})
    said: list[str] = []
    first = Launch(plan, dataset, launch, {"CPU": 1.0}, [Spoiling()], nodes=nodes)
    outcome = run_launch(first, said.append)["Tiny/seed-0"]
    assert outcome.status is Status.INTERRUPTED
    [line] = said
    assert str(launch / place) in line
    assert line.endswith("the launch ends, every trial keeps its last checkpoint; mend it, then resume")
    if place == "rungs.jsonl":
        (launch / place).rmdir()
        (launch / "moved").rename(launch / place)
    else:
        (launch / place).unlink()
    found = find_checkpoints(launch, plan)
    again = dataclasses.replace(first, listeners=(), resume_from=found)
    resumed = run_launch(again)["Tiny/seed-0"]
    assert resumed.status is Status.COMPLETE
    list(run_trial(plan.trials[0], dataset, tmp_path / "alone"))
    assert weights(resumed.folder) == weights(tmp_path / "alone")


def test_a_full_disk_of_a_node_is_not_taken_for_a_full_storage(tmp_path: Path) -> None:
    from orchestrator.scheduling.callback import LaunchCallback
    from orchestrator.scheduling.drain import Drain

    full = "OSError: [Errno 28] No space left on device: '{}/trial-x7/last.pt'"
    for place, ends in ((tmp_path / "node", False), (tmp_path / "launch" / "tune-1", True)):
        said: list[str] = []
        callback = LaunchCallback(tmp_path / "launch" / "trials", (), Drain(said.append))
        (tmp_path / "error.txt").write_text(full.format(place))
        callback.on_trial_recover(0, [], SimpleNamespace(error_file=tmp_path / "error.txt"))
        callback.close()
        assert callback.drain.requested is ends
        assert said == [f"no space left in {tmp_path / 'launch'}: {ENDS}"] * ends


@pytest.mark.slow
@pytest.mark.ray
def test_a_full_storage_folder_ends_the_launch_and_resuming_completes_it(
    small_disk: Path, network_file: Path, packed: Path, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=14m", str(small_disk)], check=True)
    trainer = "{epochs: 300, batch_size: 16}"
    text = f"name: small\nvariants: ['{network_file}:Tiny']\ndataset: {{name: '{packed}'}}\ntrainer: {trainer}\n"
    (tmp_path / "small.yaml").write_text(text)
    command = ["run", "small.yaml", "--storage", str(small_disk / "s")]
    with driver(tmp_path, *command) as process:
        wait_for(tmp_path, process, "epoch 5/")
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as full:
            while True:
                full.write(b"0" * 4096)
        said = (process.wait(timeout=PATIENCE), (tmp_path / "output.txt").read_text())
    assert said[0] == 130, said[1]
    assert "no space left in" in said[1]
    assert "Traceback" not in said[1]
    (small_disk / "filler").unlink()
    again = subprocess.run([ORCHESTRATOR, *command], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 0, again.stdout + again.stderr
    [folder] = (small_disk / "s").glob("small/*/trials/Tiny/seed-0")
    records = TrialFolder(folder).records()
    assert [r.epoch for r in records] == [*range(1, 301), 300]
    spec = TrialFolder(folder).spec()
    list(run_trial(spec, load_dataset(spec.dataset, tmp_path), tmp_path / "alone"))
    assert weights(folder) == weights(tmp_path / "alone")
