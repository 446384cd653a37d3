"""A real local Ray: trials side by side, one of them failing, early stopping, resources, quiet and on loopback."""

import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import records as keys
from orchestrator.data import Dataset
from orchestrator.errors import ResourceError, StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.scheduling import Launch, ray_session, run_launch
from orchestrator.scheduling.launch import checkpoints
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.scheduling.storage import newest_launch, open_launch_folder
from orchestrator.spec import Plan, Resources, Scheduler
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.records: dict[str, list[Record]] = {}

    def on_start(self, trial: str) -> None:
        self.events.append(("start", trial))

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
        assert failed.reason == "RuntimeError: planted failure"
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


def test_a_new_scheduler_on_the_old_log_decides_as_the_old_one_would_have(tmp_path: Path) -> None:
    from orchestrator.scheduling.halving import RememberedASHA  # imports Ray, which must follow ray_session

    class Trial:
        def __init__(self, name: str, attempt: int) -> None:
            self.trial_id, self.config = f"{name}-{attempt}", {"trial": {"name": name}}

    stream = random.Random(0)
    results = [(f"trial-{i}", epoch, stream.random()) for epoch in range(1, 9) for i in range(12)]
    settings = Scheduler(name="asha", grace_period=1, reduction_factor=2)

    def decide(log: Path, attempts: int) -> list[str]:
        decisions, size = [], len(results) // attempts
        for attempt in range(attempts):
            scheduler = RememberedASHA(settings, 8, log)
            for name, epoch, accuracy in results[attempt * size : (attempt + 1) * size]:
                result = {keys.EPOCH: epoch, keys.VAL_ACCURACY: accuracy}
                decisions.append(scheduler.on_trial_result(None, Trial(name, attempt), result))
            with log.open("a") as cut_off:
                cut_off.write('["trial-1", 3,\n')
        return decisions

    undisturbed = decide(tmp_path / "a.jsonl", 1)
    assert set(undisturbed) == {"CONTINUE", "STOP"}
    for attempts in (2, 4, 8):
        assert decide(tmp_path / f"{attempts}.jsonl", attempts) == undisturbed


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
    found = checkpoints(tmp_path / "launch", plan)
    assert found == {spec.name: attempt}
    heard = Heard()
    launch = Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0}, [heard], resume_from=found)
    outcome = run_launch(launch)[spec.name]
    assert [r.epoch for r in heard.records[spec.name]] == [3, 3]
    list(run_trial(spec, dataset, tmp_path / "whole"))
    ours, whole = (checkpoint.load(TrialFolder(p).best)["network"] for p in (outcome.folder, tmp_path / "whole"))
    assert checkpoint.content_digest(ours) == checkpoint.content_digest(whole)


@pytest.mark.ray
def test_ray_listens_on_loopback_only_and_needs_a_token(nodes) -> None:
    import psutil
    import ray

    listening = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while we look
            sockets = process.net_connections(kind="inet")
            listening += [s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN]
    assert len(listening) > 5
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    code = f"import ray; ray.init(address={ray.get_runtime_context().gcs_address!r}, logging_level='ERROR')"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    stranger = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60)
    assert stranger.returncode != 0


def test_what_no_node_can_give_is_refused() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert trial_resources(Resources(), [{"CPU": 2.0}]) == {"CPU": 1.0}
    assert trial_resources(Resources(), nodes) == {"CPU": 2.0, "GPU": 0.25}
    assert trial_resources(Resources(cpus=8, gpus=1), nodes) == {"CPU": 8.0, "GPU": 1.0}
    for too_much in (Resources(cpus=9, gpus=0), Resources(gpus=2), Resources(cpus=64)):
        with pytest.raises(ResourceError, match="the largest node has 8 CPUs and 1 GPUs"):
            trial_resources(too_much, nodes)


def test_how_many_run_side_by_side() -> None:
    assert slots({"CPU": 1.0}, [{"CPU": 2.0}, {"CPU": 3.0}], None) == 5
    assert slots({"CPU": 2.0, "GPU": 0.25}, [{"CPU": 8.0, "GPU": 1.0}], None) == 4
    assert slots({"CPU": 1.0}, [{"CPU": 2.0}], 1) == 1


def test_a_launch_folder_is_found_again_and_never_overwritten(network_file: Path, tmp_path: Path) -> None:
    plan = make(network_file, ["Tiny"])
    first = open_launch_folder(tmp_path, plan)
    assert open_launch_folder(tmp_path, plan) == first
    again = open_launch_folder(tmp_path, plan, again=True)
    assert again.path != first.path
    other = open_launch_folder(tmp_path, make(network_file, ["Tiny"], trainer={"epochs": 4}))
    assert len({first.path, again.path, other.path}) == 3
    folder, plain = newest_launch(tmp_path, "small")
    assert folder == other
    assert read_experiment(plain, "x").trainer.epochs == 4
    with pytest.raises(StorageError, match="no launch of 'other'; it holds: small"):
        newest_launch(tmp_path, "other")
    with first.locked(), pytest.raises(StorageError, match="another process"), first.locked():
        pass
    (first.path / "launch.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        open_launch_folder(tmp_path, plan)


def test_nobody_at_the_address_is_said_at_once() -> None:
    with (
        pytest.raises(ResourceError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: Connection refused"),
        ray_session("127.0.0.1:1"),
    ):
        pass
