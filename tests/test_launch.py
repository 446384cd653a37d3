"""A real local Ray: trials side by side, one of them failing, early stopping, resources, quiet and on loopback."""

import contextlib
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import disk
from patience import PATIENCE

from orchestrator import records as keys
from orchestrator.data import Dataset
from orchestrator.errors import ResourceError, StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Listener, Outcome, Record, Status
from orchestrator.scheduling.checkpoints import find_checkpoints
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.launch_folder import newest_launch, open_launch_folder
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.scheduling.session import ray_session
from orchestrator.spec import Plan, Resources, Scheduler
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial

LOOKING = """
import os
import torch.nn as nn

class Looking(nn.Linear):
    def __init__(self, num_classes=3):
        super().__init__(3 * 16 * 16, num_classes)

    def forward(self, x):
        if self.training:
            raise RuntimeError(f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
        return super().forward(x.flatten(1))
"""


class Heard(Listener):
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.records: dict[str, list[Record]] = {}
        self.first: dict[str, int] = {}  # the epoch at which a trial started

    def on_start(self, trial: str, epoch: int = 1) -> None:
        self.events.append(("start", trial))
        self.first[trial] = epoch

    def on_record(self, trial: str, record: Record) -> None:
        self.records.setdefault(trial, []).append(record)

    def on_end(self, outcome: Outcome) -> None:
        self.events.append(("end", outcome.trial))


def make(network_file: Path, variants: list[str], **settings: object) -> Plan:
    tree = {
        "name": "small",
        "variants": [f"{network_file}:{name}" for name in variants],
        "seeds": [0, 1],
        "trainer": {"epochs": 3, "batch_size": 32, "augmentation": [{"HorizontalFlip": {"p": 0.5}}]},
        **settings,
    }
    return make_plan(read_experiment(tree, "test"))


@pytest.fixture(scope="module")
def nodes():
    with ray_session(cpus=2) as found:
        yield found


@pytest.mark.ray
def test_trials_run_and_one_failure_fails_alone(nodes, network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    plan, heard = make(network_file, ["Tiny", "Failing"]), Heard()
    resources = trial_resources(plan.experiment.resources, nodes)
    assert resources["CPU"] == 1.0
    outcomes = run_launch(Launch(plan, dataset, tmp_path / "launch", resources, [heard]))
    assert {name: o.status for name, o in outcomes.items()} == {
        "Tiny/seed-0": Status.COMPLETE,
        "Tiny/seed-1": Status.COMPLETE,
        "Failing/seed-0": Status.FAILED,
        "Failing/seed-1": Status.FAILED,
    }
    for seed in (0, 1):
        failed = outcomes[f"Failing/seed-{seed}"]
        assert re.fullmatch(r"Failing\.forward, .*networks\.py:\d+: RuntimeError: planted failure", failed.reason)
        assert "networks.py" in failed.traceback
        name = f"Tiny/seed-{seed}"
        assert [(r.epoch, r.final) for r in heard.records[name]] == [(1, False), (2, False), (3, False), (3, True)]
        folder = TrialFolder(outcomes[name].folder)
        assert folder.path == tmp_path / "launch" / "trials" / name
        assert folder.records() == heard.records[name]
        # Ray's worker and this process train the same weights, bit for bit.
        list(run_trial(folder.spec(), dataset, tmp_path / f"alone-{seed}"))
        ours, theirs = (checkpoint.load(f.best)["network"] for f in (TrialFolder(tmp_path / f"alone-{seed}"), folder))
        assert checkpoint.content_digest(ours) == checkpoint.content_digest(theirs)
    assert sorted(heard.events) == sorted((kind, spec.name) for kind in ("start", "end") for spec in plan.trials)


class Ending(Heard):
    """Somebody ends the launch when the first trial has just been evaluated."""

    def on_record(self, trial: str, record: Record) -> None:
        super().on_record(trial, record)
        if record.final:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.ray
def test_ended_as_its_last_known_trial_completes_it_is_interrupted_if_others_follow(
    nodes, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    assert threading.current_thread() is threading.main_thread(), "only there are signals heard"
    plan = make(network_file, ["Tiny"], trainer={"epochs": 1, "batch_size": 32})
    first, second = plan.trials
    known = replace(plan, trials=(first,))
    later = [second]
    launch = Launch(
        known, dataset, tmp_path / "launch", {"CPU": 1.0}, [Ending()],
        more=lambda ended: [later.pop()] if first.name in ended and later else [],
    )  # fmt: skip
    outcomes = run_launch(launch)
    assert {name: o.status for name, o in outcomes.items()} == {
        first.name: Status.COMPLETE,
        second.name: Status.INTERRUPTED,
    }


WHERE = """
import os
import time
import torch.nn as nn

class Where(nn.Linear):
    def __init__(self, num_classes=3):
        super().__init__(3 * 16 * 16, num_classes)

    def forward(self, x):
        if self.training:
            time.sleep(0.1)
            with open({file!r}, "a") as log:
                log.write(f"{{os.getpid()}}\\n")
        return super().forward(x.flatten(1))
"""


@pytest.mark.slow
@pytest.mark.ray
def test_trials_shorter_than_the_start_of_a_worker_get_every_worker(nodes, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(WHERE.format(file=str(tmp_path / "where.txt")))
    plan = make(tmp_path / "where.py", ["Where"], seeds=list(range(40)), trainer={"epochs": 1, "batch_size": 32})
    outcomes = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}))
    assert all(outcome.status is Status.COMPLETE for outcome in outcomes.values())
    processes = Counter((tmp_path / "where.txt").read_text().split())
    assert len(processes) == 2, "two at a time, and none was ended while it started"


@pytest.mark.slow
@pytest.mark.ray
def test_asha_stops_the_worse_trials(nodes, network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    plan = make(
        network_file,
        ["Tiny"],
        seeds=[0],
        search={"samples": 6, "space": {"trainer.optimizer.lr": {"loguniform": [1e-7, 1.0]}}},
        scheduler={"name": "asha", "grace_period": 1, "reduction_factor": 2},
        trainer={"epochs": 8, "batch_size": 32},
    )
    heard = Heard()
    outcomes = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard]))
    stopped = [o for o in outcomes.values() if o.status is Status.STOPPED]
    complete = [o for o in outcomes.values() if o.status is Status.COMPLETE]
    assert stopped
    assert complete
    assert len(stopped) + len(complete) == 6
    for outcome in stopped:
        assert outcome.reason.startswith("stopped by the scheduler after epoch ")
        assert len(heard.records[outcome.trial]) < 8
        assert TrialFolder(outcome.folder).outcome().status is Status.STOPPED
    for outcome in complete:
        assert keys.TEST_ACCURACY in heard.records[outcome.trial][-1].metrics


class Judged:
    """A trial as Tune hands it to a scheduler, under another identity in each attempt."""

    def __init__(self, name: str, attempt: int = 1) -> None:
        self.trial_id, self.config = f"{name}-{attempt}", {"trial": {"name": name, "judged_at": [1]}}


def judge(scheduler: Any, trial: Judged, epoch: int, accuracy: float, last: int) -> str:
    """What Tune does with a result: the scheduler is told of every end, and not asked about the last epoch."""
    result = {keys.EPOCH: epoch, keys.VAL_ACCURACY: accuracy}
    decision = "STOP" if epoch == last else scheduler.on_trial_result(None, trial, result)
    if decision == "STOP":
        scheduler.on_trial_complete(None, trial, result)
    return decision


def test_a_new_scheduler_on_the_old_log_decides_as_the_old_one_would_have(tmp_path: Path) -> None:
    from orchestrator.scheduling.early_stopping import EarlyStopping  # imports Ray, which must follow ray_session

    stream = random.Random(0)
    names = [f"net/seed-{i}" for i in range(40)]
    turns = names * 9
    stream.shuffle(turns)  # some trials are far ahead of others
    results = [(name, turns[: i + 1].count(name), stream.random()) for i, name in enumerate(turns)]
    settings = Scheduler(name="asha", grace_period=1, reduction_factor=2)

    def decide(log: Path, attempts: int) -> list[tuple[str, int, str]]:
        decisions, ended, size = [], set(), len(results) // attempts + 1
        for attempt in range(attempts):
            scheduler = EarlyStopping(settings, 9, log)
            trials = {name: Judged(name, attempt) for name in names if name not in ended}
            for trial in trials.values():
                scheduler.on_trial_add(None, trial)
            for name, epoch, accuracy in results[attempt * size : (attempt + 1) * size]:
                if name not in ended:
                    decision = judge(scheduler, trials[name], epoch, accuracy, last=9)
                    decisions.append((name, epoch, decision))
                    if decision == "STOP":
                        ended.add(name)
            with log.open("a") as cut_off:
                cut_off.write('["net/seed-1", 3,\n')
        return decisions

    undisturbed = decide(tmp_path / "a.jsonl", 1)
    assert {epoch for _, epoch, decision in undisturbed if decision == "STOP"} >= {1, 2, 9}
    for attempts in (2, 4, 9):
        assert decide(tmp_path / f"{attempts}.jsonl", attempts) == undisturbed


def test_a_trial_that_has_ended_counts_once_in_each_rung(tmp_path: Path) -> None:
    from orchestrator.scheduling.early_stopping import EarlyStopping  # imports Ray, which must follow ray_session

    scheduler = EarlyStopping(Scheduler(name="asha"), 25, tmp_path / "log.jsonl")
    for name, ahead in (("net/first", 0.0), ("net/better", 0.02)):
        trial = Judged(name)
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, 26):
            decision = judge(scheduler, trial, epoch, 0.5 + 0.012 * epoch + ahead, last=25)
            assert decision == ("STOP" if epoch == 25 else "CONTINUE"), f"{name} at epoch {epoch}"


@pytest.mark.ray
def test_a_trial_carries_on_from_a_folder_to_the_same_bits(
    nodes, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    plan = make(network_file, ["Tiny"], seeds=[0])
    spec = plan.trials[0]
    attempt = tmp_path / "launch" / "tune-1" / "Tiny_seed-0" / "checkpoint_000001"
    running = run_trial(spec, dataset, attempt)
    next(running), next(running)
    running.close()
    broken = attempt.with_name("checkpoint_000002")
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "spec.json").write_text(json.dumps(spec.to_json()))
    (broken / "checkpoints" / "last.pt").write_bytes(b"cut off")
    found = find_checkpoints(tmp_path / "launch", plan)
    assert found == {spec.name: attempt}
    heard = Heard()
    launch = Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard], resume_from=found)
    outcome = run_launch(launch)[spec.name]
    assert heard.first == {spec.name: 3}
    assert [r.epoch for r in heard.records[spec.name]] == [2, 3, 3]  # first it says where it stands
    list(run_trial(spec, dataset, tmp_path / "whole"))
    ours, whole = (checkpoint.load(TrialFolder(p).best)["network"] for p in (outcome.folder, tmp_path / "whole"))
    assert checkpoint.content_digest(ours) == checkpoint.content_digest(whole)


@pytest.mark.ray
def test_a_trial_without_a_gpu_sees_none(nodes, tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "looking.py").write_text(LOOKING)
    plan = make(tmp_path / "looking.py", ["Looking"], seeds=[0])
    outcome = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}))["Looking/seed-0"]
    assert outcome.reason.endswith("RuntimeError: CUDA_VISIBLE_DEVICES is ''")


@pytest.mark.parametrize(
    ("steps", "missing"),
    [(s, f"checkpoints/{n}.pt") for s in (3, 4) for n in ("last", "best")] + [(4, "predictions.pt")],
)
def test_a_copy_that_was_broken_off_is_passed_over(
    network_file: Path, dataset: Dataset, tmp_path: Path, steps: int, missing: str
) -> None:
    plan = make(network_file, ["Tiny"], seeds=[0])
    attempt = tmp_path / "launch" / "tune-1" / "Tiny_seed-0"
    whole, copy = attempt / "checkpoint_000001", attempt / "checkpoint_000002"
    for folder, count in ((whole, 2), (copy, steps)):  # the fourth record is the final one
        running = run_trial(plan.trials[0], dataset, folder)
        list(itertools.islice(running, count))
        running.close()
    assert find_checkpoints(tmp_path / "launch", plan) == {"Tiny/seed-0": copy}
    (copy / missing).write_bytes((copy / missing).read_bytes()[:100])
    assert find_checkpoints(tmp_path / "launch", plan) == {"Tiny/seed-0": whole}


@pytest.mark.ray
def test_a_complete_trial_that_had_not_come_home_is_complete(
    nodes, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    from orchestrator.scheduling.callback import collect_trial  # imports Ray, which must follow ray_session

    plan = make(network_file, ["Tiny"], seeds=[0])
    spec = plan.trials[0]
    left = tmp_path / "launch" / "tune-1" / "Tiny_seed-0" / "checkpoint_000002"
    records = list(run_trial(spec, dataset, left))
    heard, found = Heard(), find_checkpoints(tmp_path / "launch", plan)
    assert found == {spec.name: left}
    outcome = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard], resume_from=found))[
        spec.name
    ]
    assert (outcome.status, outcome.reason) == (Status.COMPLETE, "")
    assert heard.first == {spec.name: 4}  # only its evaluation was missing
    assert heard.records[spec.name] == records[-2:]
    home = TrialFolder(tmp_path / "launch" / "trials" / spec.name)
    assert home.outcome().status is Status.COMPLETE
    later = collect_trial(None, home.path, Outcome(spec.name, Status.STOPPED, "stopped by the scheduler after epoch 3"))
    assert later.status is home.outcome().status is Status.COMPLETE


@pytest.mark.ray
def test_ray_listens_on_loopback_only_and_needs_a_token(nodes) -> None:
    import psutil
    import ray

    from orchestrator.scheduling.each_node import dashboard_address

    listening = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while we look
            sockets = process.net_connections(kind="inet")
            listening += [s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN]
    assert len(listening) > 5
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert dashboard_address() == ""  # nor its Jobs API, which is a part of it
    code = f"import ray; ray.init(address={ray.get_runtime_context().gcs_address!r}, logging_level='ERROR')"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    stranger = environment | {"RAY_NUM_REDIS_GET_RETRIES": "3"}  # else it tries to get in for 20 s
    friend = environment | {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    codes = {}
    for who, known in (("stranger", stranger), ("friend", friend)):
        joined = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, timeout=PATIENCE)
        codes[who] = joined.returncode
    assert codes["stranger"] != 0
    assert codes["friend"] == 0


def test_what_no_node_can_give_is_refused() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert trial_resources(Resources(), [{"CPU": 2.0}]) == {"CPU": 1.0}
    assert trial_resources(Resources(), nodes, 4) == {"CPU": 2.0, "GPU": 0.25}
    mixed = [{"CPU": 64.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 32.0, "GPU": 8.0}, {"CPU": 0.0, "GPU": 1.0}]
    assert trial_resources(Resources(), mixed, 4) == {"CPU": 1.0, "GPU": 0.25}
    assert trial_resources(Resources(gpus=1), mixed) == {"CPU": 4.0, "GPU": 1.0}
    assert trial_resources(Resources(gpus=2), mixed) == {"CPU": 8.0, "GPU": 2.0}
    assert trial_resources(Resources(), mixed[:2], 4) == {"CPU": 2.0, "GPU": 0.25}
    assert trial_resources(Resources(cpus=8, gpus=1), nodes) == {"CPU": 8.0, "GPU": 1.0}
    for too_much in (Resources(cpus=9, gpus=0), Resources(gpus=2), Resources(cpus=64)):
        with pytest.raises(ResourceError, match="the nodes have: 2 CPUs and 0 GPUs; 8 CPUs and 1 GPUs"):
            trial_resources(too_much, nodes)


def test_how_many_run_side_by_side() -> None:
    assert slots({"CPU": 1.0}, [{"CPU": 2.0}, {"CPU": 3.0}], None) == 5
    assert slots({"CPU": 2.0, "GPU": 0.25}, [{"CPU": 8.0, "GPU": 1.0}], None) == 4
    assert slots({"CPU": 1.0}, [{"CPU": 2.0}], 1) == 1


def test_a_launch_folder_is_found_again_and_never_overwritten(network_file: Path, tmp_path: Path) -> None:
    plan = make(network_file, ["Tiny"])
    first = open_launch_folder(tmp_path, plan)[0]
    assert open_launch_folder(tmp_path, plan)[0] == first
    assert open_launch_folder(tmp_path, plan)[0].id == first.id
    again = open_launch_folder(tmp_path, plan, again=True)[0]
    assert again.path != first.path
    other = open_launch_folder(tmp_path, make(network_file, ["Tiny"], trainer={"epochs": 4}))[0]
    assert len({first.path, again.path, other.path}) == 3
    elsewhere = open_launch_folder(tmp_path / "elsewhere", plan)[0]
    assert elsewhere.name == first.name
    assert len({first.id, again.id, other.id, elsewhere.id}) == 4
    shutil.copytree(first.path, tmp_path / "moved" / "small" / first.name)
    assert open_launch_folder(tmp_path / "moved", plan)[0].id == first.id
    content = json.loads((elsewhere.path / "launch.json").read_text())
    del content["id"]  # as an earlier version left it
    (elsewhere.path / "launch.json").write_text(json.dumps(content))
    assert open_launch_folder(tmp_path / "elsewhere", plan)[0].id is None
    shutil.rmtree(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "moved")
    folder, plain = newest_launch(tmp_path, "small")
    assert folder == other
    assert read_experiment(plain, "x").trainer.epochs == 4
    with pytest.raises(StorageError, match="no launch of 'other'; it holds: small"):
        newest_launch(tmp_path, "other")
    with first.locked(), pytest.raises(StorageError, match="another process"), first.locked():
        pass
    (first.path / "launch.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        open_launch_folder(tmp_path, plan)[0]


@pytest.mark.parametrize("how", ["read-only", "not a file"])
def test_a_launch_that_cannot_be_locked_is_refused_in_words(how: str, network_file: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "1m") if how == "read-only" else contextlib.nullcontext(tmp_path) as place:
        folder, _ = open_launch_folder(place, make(network_file, ["Tiny"]))
        if how == "read-only":  # as another user's is, or storage that is mounted so
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        else:
            (folder.path / "launch.lock").mkdir()
        with pytest.raises(StorageError) as refused, folder.locked():
            pass
    said = str(refused.value)
    assert said.startswith(f"{folder.path / 'launch.lock'} cannot be opened and locked: ")
    assert os.strerror(errno.EROFS if how == "read-only" else errno.EISDIR) in said
    assert "--storage" in said


def test_a_launch_is_not_carried_on_with_another_network_or_other_data(network_file: Path, tmp_path: Path) -> None:
    plan = make(network_file, ["Tiny"])
    folder = open_launch_folder(tmp_path, plan)[0]
    folder.check_plan(plan)
    other_data = replace(plan, trials=tuple(replace(spec, dataset_digest="d" * 64) for spec in plan.trials))
    network_file.write_text(network_file.read_text().replace("nn.ReLU()", "nn.GELU()"))
    for changed in (other_data, make(network_file, ["Tiny"])):
        with pytest.raises(StorageError, match="was begun with other"):
            folder.check_plan(changed)


def test_nobody_at_the_address_is_said_at_once() -> None:
    with (
        pytest.raises(ResourceError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: Connection refused"),
        ray_session("127.0.0.1:1"),
    ):
        pass
