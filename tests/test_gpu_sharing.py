"""How many trials share a GPU in a launch: found on a node, kept, used again; MPS around it; who lacks memory."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from driving import EXPERIMENT
from fake_mps import make_program
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE

from orchestrator.data import Dataset
from orchestrator.errors import ResourceError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Failure, Listener, Outcome, Record, Status
from orchestrator.scheduling import gpu_sharing, local_mps
from orchestrator.scheduling.gpu_sharing import Gpu, Work, costliest, measure, trials_per_gpu, useful, with_data
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.resources import slots, trial_resources
from orchestrator.scheduling.session import ray_session
from orchestrator.sharing import mps
from orchestrator.sharing.measure import Throughput
from orchestrator.sharing.share import Share
from orchestrator.spec import Plan

LARGE, SMALL = Gpu("NVIDIA H200", 139 * 2**30), Gpu("Tesla T4", 15 * 2**30)
GPU_NODE = [{"CPU": 16.0, "GPU": 1.0}]


def plan_of(*variants: str, seeds: int = 4, trainer: dict[str, object] | None = None, **settings: object) -> Plan:
    recipe = {"epochs": 3, "batch_size": 16, "optimizer": {"lr": 0.1}, **(trainer or {})}
    tree = {"name": "s", "variants": list(variants), "seeds": list(range(seeds)), "trainer": recipe, **settings}
    return make_plan(read_experiment(tree, "test"))


def work_of(plan: Plan, macs: dict[str, float] | None = None, resident: int = 0) -> Work:
    costs = {spec.name: (macs or {}).get(spec.label, 1.0) for spec in plan.trials}
    return Work(plan, plan.trials, costs, (3, 16, 16), 3, resident)


class Node:
    """Stands in for the node that measures: its GPU, and a count for each variant, or why there is none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpu: Gpu = LARGE, **answers: int | str) -> None:
        self.gpu: Gpu | str = gpu
        self.answers = answers
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        monkeypatch.setattr(gpu_sharing, "_measure_on_a_node", self.measure)
        monkeypatch.setattr(gpu_sharing, "_ask_a_node", lambda function: self.gpu)

    def measure(self, spec, work, counts) -> tuple[Share, Gpu] | str:
        self.asked.append((spec.label, tuple(counts)))
        answer = self.answers[spec.label]
        if isinstance(answer, str):
            return answer
        count = min(answer, counts[-1])
        measured = tuple((n, Throughput(100.0 * n, 10**9, 0)) for n in counts if n <= count)
        return Share(count, measured, "more do not help"), self.gpu


def test_the_share_is_found_once_kept_and_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node, said, work = Node(monkeypatch, stride=4), [], work_of(plan_of("stride", seeds=40))
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 4
    assert said == ["4 trials share a GPU, 4.0 times as fast as one: of stride, more do not help"]
    kept = json.loads((tmp_path / "share.json").read_text())
    assert kept["trials"] == 4
    assert [n["variant"] for n in kept["networks"]] == ["stride"]
    assert kept["networks"][0]["measured"][-1] == {"trials": 4, "images_per_second": 400.0, "bytes_each": 10**9}
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 4  # as a launch that is resumed
    assert len(node.asked) == len(said) == 1
    older, gpu = '{"trials": 9}', json.dumps(kept["gpu"])
    for damaged in ("", "{}", f'{{"trials": 0, "gpu": {gpu}}}', f'{{"trials": "4", "gpu": {gpu}}}', "[]", older):
        (tmp_path / "share.json").write_text(damaged)
        assert trials_per_gpu(work, GPU_NODE, tmp_path) == 4
    assert len(node.asked) == 7


@pytest.mark.parametrize("changed", [SMALL, replace(LARGE, memory=LARGE.memory // 2)])
def test_on_another_gpu_it_is_measured_again(changed: Gpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node, said, work = Node(monkeypatch, stride=16), [], work_of(plan_of("stride", seeds=40))
    assert trials_per_gpu(work, GPU_NODE, tmp_path) == 16
    node.gpu, node.answers = changed, {"stride": 2}
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 2
    assert said[0].startswith(f"how many trials share a GPU is measured anew, on {changed.name} (")
    assert said[0].endswith("before it was NVIDIA H200 (139.0 GiB)")
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 2
    assert len(node.asked) == len(said) == 2


def test_a_gpu_that_does_not_answer_leaves_the_share_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node, said, work = Node(monkeypatch, stride=4), [], work_of(plan_of("stride", seeds=40))
    assert trials_per_gpu(work, GPU_NODE, tmp_path) == 4
    node.gpu = "no node has answered within 300 s"
    kept = (tmp_path / "share.json").read_text()
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 4
    assert trials_per_gpu(work_of(plan_of("stride", seeds=2)), GPU_NODE, tmp_path) == 2, "never more than trials"
    assert (len(node.asked), said, (tmp_path / "share.json").read_text()) == (1, [], kept)


def test_an_early_share_is_measured_anew_and_stands_if_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node, said, work = Node(monkeypatch, stride="no node has answered"), [], work_of(plan_of("stride", seeds=40))
    (tmp_path / "share.json").write_text('{"trials": 4}')  # which says nothing of the GPU
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 4
    assert said == [
        "4 trials share a GPU as before, since it is not known how many could share one: no node has answered"
    ]
    node.answers = {"stride": 2}
    assert trials_per_gpu(work, GPU_NODE, tmp_path) == 2
    node.gpu, node.answers = SMALL, {"stride": "no memory"}
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 1, "it was not measured on this one"
    assert said[-1].startswith("every trial gets a GPU of its own")


def test_of_several_networks_the_smallest_share_counts_and_the_costliest_is_asked_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work = work_of(
        plan_of("stride", "grouped_concat", "dilated_stride", seeds=40), {"grouped_concat": 9.0, "stride": 5.0}
    )
    node, said = Node(monkeypatch, stride=2, grouped_concat=8, dilated_stride=16), []
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 2
    assert node.asked == [("grouped_concat", (1, 2, 4, 8, 16)), ("stride", (1, 2, 4, 8)), ("dilated_stride", (1, 2))]
    assert "of stride" in said[0]
    node = Node(monkeypatch, grouped_concat=1)
    (tmp_path / "share.json").unlink()
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 1
    assert len(node.asked) == 1  # no other can make it less
    assert said[1] == "every trial gets a GPU of its own: of grouped_concat, more do not help"
    monkeypatch.setattr(gpu_sharing, "LONGEST", -1.0)
    node = Node(monkeypatch, grouped_concat=8)
    (tmp_path / "share.json").unlink()
    assert trials_per_gpu(work, GPU_NODE, tmp_path) in (1, 8)
    assert len(node.asked) <= 1


def test_what_cannot_be_found_is_one_trial_a_gpu_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node, said, work = Node(monkeypatch, stride="CUDA finds no GPU on here"), [], work_of(plan_of("stride"))
    assert trials_per_gpu(work, GPU_NODE, tmp_path, log=said.append) == 1
    assert len(said) == 1
    assert said[0].endswith("CUDA finds no GPU on here")
    assert not (tmp_path / "share.json").exists()
    node.answers["stride"] = 2
    assert trials_per_gpu(work, GPU_NODE, tmp_path) == 2


def test_where_nothing_is_to_be_shared_nothing_is_measured_or_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node, said = Node(monkeypatch), []
    for plan, nodes in (
        (plan_of("stride"), [{"CPU": 64.0}]),  # no GPU
        (plan_of("stride", resources={"gpus": 0.25}), GPU_NODE),  # it was said how many
        (plan_of("stride", resources={"gpus": 0}), GPU_NODE),
        (plan_of("stride", trainer={"device": "cpu"}), GPU_NODE),
        (plan_of("stride", seeds=1), GPU_NODE),  # one trial
        (plan_of("stride", seeds=4), [{"CPU": 16.0, "GPU": 4.0}]),  # a GPU for each
        (plan_of("stride", resources={"max_concurrent_trials": 1}), GPU_NODE),
        (plan_of("stride"), [{"CPU": 1.0, "GPU": 1.0}]),  # no cores for more
        (plan_of("stride", resources={"cpus": 16}), GPU_NODE),
    ):
        assert trials_per_gpu(work_of(plan), nodes, tmp_path, log=said.append) == 1
    assert (node.asked, said, list(tmp_path.iterdir())) == ([], [], [])


@given(
    seeds=st.integers(1, 40),
    cores=st.sampled_from([1.0, 2.0, 8.0, 64.0]),
    gpus=st.sampled_from([0.0, 1.0, 2.0, 8.0]),
    cpus=st.sampled_from(["auto", 0.5, 1, 4]),
)
def test_no_more_share_a_gpu_than_run_at_once(seeds: int, cores: float, gpus: float, cpus: float | str) -> None:
    plan, nodes = plan_of("stride", seeds=seeds, resources={"cpus": cpus}), [{"CPU": cores, "GPU": gpus}, {"CPU": 2.0}]
    try:
        most = useful(work_of(plan), nodes)
    except ResourceError:  # asked for more cores than there are
        return
    assert most >= 1
    if most > 1:
        resources = trial_resources(plan.experiment.resources, nodes, most)
        at_once = slots(resources, nodes[:1], None)
        assert at_once == most * gpus  # each share can be taken
        assert math.ceil(seeds / gpus) >= most


def test_a_search_measures_each_network_with_its_largest_batch() -> None:
    space = {"trainer.batch_size": {"choice": [16, 32, 64]}, "trainer.optimizer.lr": {"uniform": [0.1, 0.2]}}
    plan = plan_of("stride", "grouped_concat", search={"space": space, "samples": 20}, seeds=1)
    found = costliest(work_of(plan, {"grouped_concat": 2.0}))
    assert [(spec.label, spec.trainer.batch_size) for spec in found] == [("grouped_concat", 64), ("stride", 64)]


def test_the_images_of_a_trial_count_where_they_lie_on_the_gpu() -> None:
    found = Throughput(1.0, 100, 0, bytes_total=1000)
    assert with_data(found, 500).bytes_each == 600
    assert with_data(found, 501).bytes_each == 100  # more than half: they stay on the host


@pytest.mark.slow
def test_a_node_measures_what_it_is_told(network_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "width").write_text("6")
    network_file.write_text(network_file.read_text() + '\nPath("width").read_text()  # from where the driver works\n')
    spec = plan_of(f"{network_file}:Tiny", trainer={"device": "cpu"}).trials[0]
    monkeypatch.chdir("/")
    told = json.dumps(spec.to_json())
    if not torch.cuda.is_available():
        assert str(measure(told, (3, 16, 16), 3, (1, 2), 0)).startswith("CUDA finds no GPU on ")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_sharing, "SECONDS", 0.3)
    monkeypatch.setattr(gpu_sharing, "WARM_UP", float(PATIENCE))
    monkeypatch.setattr(gpu_sharing, "which_gpu", lambda: SMALL)
    assert "does not train on" in str(measure(told, (3, 16, 16), 3, (1, 2), 0, "/"))
    found, gpu = measure(told, (3, 16, 16), 3, (1, 2), 0, str(tmp_path))
    assert isinstance(found, Share)
    assert gpu == SMALL
    assert found.count in (1, 2)
    assert [count for count, _ in found.measured] == [1, 2]
    broken = json.dumps({**spec.to_json(), "arguments": {"width": "wide"}})
    assert "does not train on" in str(measure(broken, (3, 16, 16), 3, (1, 2), 0))


@pytest.mark.parametrize(
    ("said", "daemon", "used"),
    [
        (None, True, True),
        (None, False, False),
        ("", True, True),
        ("/elsewhere", False, True),
        ("/nonexistent", True, False),
    ],
)
def test_a_process_uses_the_daemon_that_cuda_would_find(
    said: str | None, daemon: bool, used: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mps, "USUAL", tmp_path)
    monkeypatch.setenv(mps.PIPES, said or "")
    if said is None:
        monkeypatch.delenv(mps.PIPES)
    if daemon:
        (tmp_path / "control").touch()
    assert local_mps.uses_mps() is used
    if used:
        local_mps.disable_mps()
        assert not local_mps.uses_mps()


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[dict[str, float]]]:
    """A node that claims a GPU, and has MPS's variable as if it served."""
    os.environ[mps.PIPES] = "/tmp/no-mps-listens-here"
    with ExitStack() as stack:
        try:
            found = stack.enter_context(ray_session(cpus=2, gpus=1))
        finally:
            del os.environ[mps.PIPES]
        yield found


@pytest.mark.ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="the node has its GPU")
def test_a_node_without_its_gpu_says_so_and_its_processes_are_free_again(
    nodes, network_file: Path, tmp_path: Path
) -> None:
    said, work = [], work_of(plan_of(f"{network_file}:Tiny"))
    assert trials_per_gpu(work, nodes, tmp_path, log=said.append) == 1
    assert len(said) == 1
    assert "every trial gets a GPU of its own" in said[0]
    assert "CUDA finds no GPU on" in said[0]
    assert trial_resources(work.plan.experiment.resources, nodes) == {"CPU": 2.0, "GPU": 1.0}


@pytest.mark.ray
def test_what_a_node_says_arrives_and_one_that_is_silent_is_not_waited_for(
    nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ray

    said, work = [], work_of(plan_of("stride"))
    speeds = {1: 100.0, 2: 180.0}
    answer = Share(2, tuple((n, Throughput(s, 5, 0, "", 100)) for n, s in speeds.items()), "it fits"), LARGE
    monkeypatch.setattr(gpu_sharing, "measure", lambda *told: answer)  # by value: no process of Ray's finds this file
    assert trials_per_gpu(work, nodes, tmp_path, log=said.append) == 2
    monkeypatch.setattr(gpu_sharing, "measure", lambda *told: __import__("time").sleep(3600))
    monkeypatch.setattr(gpu_sharing, "PATIENCE", 1.0)
    (tmp_path / "share.json").unlink()
    assert trials_per_gpu(work, nodes, tmp_path, log=said.append) == 1
    monkeypatch.setattr(gpu_sharing, "measure", lambda *told: 1 / 0)
    monkeypatch.setattr(gpu_sharing, "PATIENCE", float(PATIENCE))
    assert trials_per_gpu(work, nodes, tmp_path, log=said.append) == 1  # the silent one holds the GPU no longer
    assert [line.partition(": ")[2] for line in said] == [
        "of stride, it fits",
        "no node has answered within 1 s",
        "ZeroDivisionError: division by zero",
    ]
    assert said[0].startswith("2 trials share a GPU, 1.8 times as fast as one")
    assert ray.cluster_resources()["GPU"] == 1


AILING = '''
import os
from pathlib import Path

import torch
from networks import Tiny

class Hungry(Tiny):
    """Lacks memory as often as the file beside it has dots, as CUDA says it."""

    def forward(self, x):
        want = Path(__file__).with_name("appetite")
        if self.training and (left := want.exists() and want.read_text()):
            want.write_text(left[1:])
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return self.net(x)


class Neighbour(Tiny):
    """By MPS it loses its device; without, it trains."""

    def forward(self, x):
        if self.training and os.environ["CUDA_MPS_PIPE_DIRECTORY"] != "/nonexistent":
            with Path(__file__).with_name("lost").open("a") as log:
                log.write(".")
            raise torch.AcceleratorError("CUDA error: the MPS client has been terminated")
        return self.net(x)


class Faulty(Tiny):
    """Loses its device with and without."""

    def forward(self, x):
        if self.training:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return self.net(x)
'''


@pytest.fixture
def ailing_file(network_file: Path) -> Path:
    file = network_file.with_name("ailing.py")
    file.write_text(f"import sys\nsys.path.insert(0, {str(network_file.parent)!r})\n" + AILING)
    return file


class Heard(Listener):
    def __init__(self) -> None:
        self.records: list[tuple[str, int]] = []
        self.ends: list[str] = []

    def on_record(self, trial: str, record: Record) -> None:
        if not record.final:
            self.records.append((trial, record.epoch))

    def on_end(self, outcome: Outcome) -> None:
        self.ends.append(outcome.trial)


@pytest.mark.slow
@pytest.mark.ray
def test_who_lacks_memory_beside_others_gets_more_and_the_others_go_on(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "appetite").write_text(".")
    plan, said, heard = plan_of(f"{ailing_file}:Hungry", f"{ailing_file}:Tiny", seeds=2), [], Heard()
    share = {"CPU": 0.5, "GPU": 0.25}
    outcomes = run_launch(Launch(plan, dataset, tmp_path / "launch", share, [heard], nodes=nodes), said.append)
    assert {outcome.status for outcome in outcomes.values()} == {Status.COMPLETE}
    assert len(said) == 1
    assert said[0].endswith(": out of memory; once more with 0.5 CPU, 0.5 GPU")
    again = said[0].partition(":")[0]
    assert again.startswith("Hungry/")
    assert sorted(heard.records) == sorted((spec.name, epoch) for spec in plan.trials for epoch in (1, 2, 3))
    assert heard.ends[-1] == again  # the others had not to wait for it
    assert sorted(heard.ends) == sorted(outcomes)


@pytest.mark.slow
@pytest.mark.ray
def test_by_mps_the_fault_of_one_trial_is_that_of_no_other(
    nodes, ailing_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    plan = plan_of(f"{ailing_file}:Neighbour", f"{ailing_file}:Faulty", seeds=1)
    outcomes = run_launch(Launch(plan, dataset, tmp_path / "launch", {"CPU": 1.0, "GPU": 0.5}, nodes=nodes))
    assert outcomes["Neighbour/seed-0"].status is Status.COMPLETE
    assert (tmp_path / "lost").read_text() == "."  # once, and then it went on without
    failed = outcomes["Faulty/seed-0"]
    assert (failed.status, failed.failure) == (Status.FAILED, Failure.ERROR)
    assert failed.reason.endswith("AcceleratorError: CUDA error: device-side assert triggered")


def experiment_of(**settings: object):
    return plan_of("stride", **settings).experiment


def test_mps_is_started_where_trials_may_share_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = make_program(tmp_path / "bin", tmp_path / "usual")
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(mps, "USUAL", tmp_path / "usual")
    monkeypatch.setattr(mps.daemon.__wrapped__, "__defaults__", (lambda environment: None,))
    said: list[str] = []

    def served(experiment) -> bool:
        with local_mps.local_mps(experiment, said.append):
            return mps.PIPES in os.environ

    monkeypatch.setattr(local_mps, "DEVICES", tmp_path)
    assert not served(experiment_of())  # no GPU here
    (tmp_path / "nvidia0").touch()
    assert served(experiment_of())
    assert mps.PIPES not in os.environ
    assert served(experiment_of(resources={"gpus": 0.5}))
    assert not served(experiment_of(resources={"gpus": 1}))
    assert not served(experiment_of(resources={"gpus": 0}))
    assert not served(experiment_of(trainer={"device": "cpu"}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not served(experiment_of())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert said == []
    with pytest.raises(ResourceError, match="the body's own"), local_mps.local_mps(experiment_of(), said.append):
        raise ResourceError("the body's own")
    assert said == []
    monkeypatch.setenv("FAKE_MPS", "refuses")
    assert not served(experiment_of())
    assert len(said) == 1
    assert said[0].startswith("trials that share a GPU take turns on it: no MPS: ")


NETWORK = """
import os
from pathlib import Path
from networks import Tiny

class Asking(Tiny):
    def forward(self, x):
        if self.training:
            Path(__file__).with_name("pipes").write_text(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "none"))
        return self.net(x)
"""

# The command, on a machine that seems to have a GPU.
COMMAND = """
import os, sys
from pathlib import Path
from orchestrator.scheduling.session import local_environment
os.environ.update(local_environment())  # Ray remembers, from when it is first imported, how to ask for tokens
import ray
from orchestrator.scheduling import local_mps
from orchestrator.sharing import mps

begin = ray.init
ray.init = lambda **given: begin(**{**given, "num_cpus": 2, "num_gpus": 1})
local_mps.DEVICES = Path(sys.argv.pop(1))
mps.daemon.__wrapped__.__defaults__ = (lambda environment: None,)
from orchestrator.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.ray
def test_workers_of_a_local_launch_reach_the_daemon_and_it_ends_with_them(
    network_file: Path, packed: Path, tmp_path: Path
) -> None:
    program = make_program(tmp_path / "bin", tmp_path / "usual")
    network_file.with_name("asking.py").write_text(
        f"import sys\nsys.path.insert(0, {str(network_file.parent)!r})\n" + NETWORK
    )
    text = EXPERIMENT.format(networks=network_file.with_name("asking.py"), data=packed, second="Asking")
    (tmp_path / "small.yaml").write_text(text.replace(f'"{network_file.with_name("asking.py")}:Tiny", ', ""))
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "nvidia0").touch()
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", "import os, sys\n" + COMMAND, str(tmp_path / "devices"), "run", "small.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    pipes = Path((tmp_path / "pipes").read_text())
    assert pipes.name == "pipes"
    assert not pipes.parent.exists()
    assert mps.processes_of(str(pipes.parent)) == []
    told = ran.stdout + ran.stderr
    assert (
        told.count("every trial gets a GPU of its own, since it is not known how many could share one: CUDA finds") == 1
    )
    assert "take turns" not in told
