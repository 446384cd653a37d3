"""A Ray cluster of several nodes, real processes each: lost, joined, without the storage, brought up when needed."""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from driving import NEEDS_ROOT, ORCHESTRATOR, driver, wait_for
from patience import PATIENCE

from orchestrator.workflow.verify import compare, content, kill_driver

pytestmark = [pytest.mark.cluster]

PROGRAMS = Path(sys.executable).parent
EXPERIMENT = """
name: small
variants: ["{networks}:Slow"]
seeds: [0, 1, 2]
dataset: {{name: "{data}"}}
trainer: {{epochs: {epochs}, batch_size: 16, optimizer: {{lr: 0.1}}, augmentation: [{{HorizontalFlip: {{p: 0.5}}}}]}}
"""

# A process that holds a cluster and does as it is told, one JSON list a line: Ray can be joined once a process.
CLUSTER_PROCESS = """
import ctypes, json, subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
print(json.dumps(cluster.address), flush=True)
nodes = {}
for line in sys.stdin:
    what, name, *rest = json.loads(line)
    if what == "add":
        nodes[name] = cluster.add_node(num_cpus=rest[0], wait=True)
        print(json.dumps(nodes[name].node_id), flush=True)
    elif what == "kill node":
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print(json.dumps(None), flush=True)
    elif what == "kill raylet":
        nodes[name].kill_raylet()
        print(json.dumps(None), flush=True)
    elif what == "hide":  # nodes that are added from now on see an empty folder there
        assert ctypes.CDLL(None, use_errno=True).unshare(0x20000) == 0  # a mount namespace of its own
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", name], check=True)
        print(json.dumps(None), flush=True)
"""


class ClusterProcess:
    """The cluster: a head without CPUs, and nodes by name."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.address: str = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the cluster's process has ended"
        return json.loads(line)

    def __call__(self, *order: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        **more,
    }


@contextmanager
def cluster(settings: dict[str, str]) -> Iterator[ClusterProcess]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER_PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings
    )
    try:
        yield ClusterProcess(process)
    finally:
        kill_driver(process)


def write_experiment(folder: Path, network_file: Path, packed: Path, epochs: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "small.yaml"
    file.write_text(EXPERIMENT.format(networks=network_file, data=packed, epochs=epochs))
    return file


def test_nodes_are_lost_and_join_and_nothing_differs(tmp_path: Path, network_file: Path, packed: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        write_experiment(folder, network_file, packed, 150)
    run = ["run", "small.yaml"]
    with driver(undisturbed, *run) as process:
        assert process.wait(timeout=PATIENCE) == 0, (undisturbed / "output.txt").read_text()

    settings = environment()
    with cluster(settings) as order:
        order("add", "first", 1)
        order("add", "second", 1)
        with driver(disturbed, *run, "--address", order.address, environment=settings) as process:
            wait_for(disturbed, process, "seed-1: epoch 10/", "seed-0: epoch 10/")
            order("kill node", "first")
            order("kill raylet", "second")
            joined = order("add", "third", 1)  # who joins in mid-launch is all there is
            assert process.wait(timeout=PATIENCE) == 0, (disturbed / "output.txt").read_text()
    said = (disturbed / "output.txt").read_text()
    assert joined
    assert "3 nodes can use the storage and have the same versions" in said
    assert "3 trials, 2 at a time" in said
    assert said.count("seed-0: epoch 1/150") == said.count("seed-1: epoch 1/150") == 1  # from their checkpoints
    assert compare(content(undisturbed, "small"), content(disturbed, "small")) == []


@NEEDS_ROOT
def test_a_node_that_does_not_share_the_storage_is_refused(tmp_path: Path, network_file: Path, packed: Path) -> None:
    write_experiment(tmp_path, network_file, packed, 2)
    (tmp_path / "storage").mkdir()
    settings = environment()
    with cluster(settings) as order:
        order("add", "good", 1)
        order("hide", str(tmp_path / "storage"))
        order("add", "other", 1)
        with driver(tmp_path, "run", "small.yaml", "--address", order.address, environment=settings) as process:
            assert process.wait(timeout=PATIENCE) == 2, (tmp_path / "output.txt").read_text()
    said = (tmp_path / "output.txt").read_text()
    assert "not every node can use the storage" in said
    assert said.count("does not see what the driver has written") == 1
    assert "started" not in said  # no trial
    assert not list(tmp_path.glob("storage/small/*/.probe-*"))


def test_the_data_lie_on_each_node_once(tmp_path: Path, network_file: Path) -> None:
    import torch

    from orchestrator.data import Dataset, Split, save_packed

    images = torch.randint(0, 255, (4000, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.arange(4000) % 3)
    save_packed(Dataset("large", split, Split(images[:30], split.labels[:30]), ("a", "b", "c")), tmp_path / "large.pt")
    write_experiment(tmp_path, network_file, tmp_path / "large.pt", 1000)
    settings = environment()
    with cluster(settings) as order:
        order("add", "first", 2)
        order("add", "second", 1)
        with driver(tmp_path, "run", "small.yaml", "--address", order.address, environment=settings) as process:
            wait_for(tmp_path, process, *(f"seed-{seed}: epoch 1/" for seed in range(3)))
            held = subprocess.run(
                [sys.executable, "-c", STORED.format(address=order.address)],
                env=settings, capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
    size = images.numel()
    by_node = json.loads(held.stdout.splitlines()[-1])
    assert len(by_node) == 3
    assert all(size <= stored < 1.5 * size for stored in by_node), (size, by_node)  # two trials on one of them


STORED = """
import json, ray
from ray._private.internal_api import node_stats
ray.init(address="{address}", log_to_driver=False, logging_level="ERROR")
stats = [node_stats(n["NodeManagerAddress"], n["NodeManagerPort"]) for n in ray.nodes() if n["Alive"]]
print(json.dumps([s.store_stats.object_store_bytes_used for s in stats]))
"""

# Ray's own fake cloud: the head's autoscaler starts and ends real nodes. It ends what runs with `ray stop`, which would
# stop every Ray that it sees: it gets a PID namespace of its own.
AUTOSCALED = """
import subprocess, sys, time
import ray
from ray.cluster_utils import AutoscalingCluster

class Growing(AutoscalingCluster):
    def _generate_config(self, head_resources, worker_node_types, autoscaler_v2=False, **more):
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        return {
            "cluster_name": "growing",
            "max_workers": 2,
            "provider": {"type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
                         "disable_launch_config_check": True},
            "available_node_types": {**worker_node_types, "ray.head.default": head},
            "head_node_type": "ray.head.default",
            "upscaling_speed": 1.0, "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
            **{commands: [] for commands in ("initialization_commands", "setup_commands", "head_setup_commands",
               "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
            "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
            **more,
        }

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
cluster = Growing({"CPU": 0}, {"worker": {"resources": {"CPU": 1, "object_store_memory": 10**9}, "node_config": {},
                                          "min_workers": 0, "max_workers": 2}}, idle_timeout_minutes=0.1)
cluster.start(_system_config={})
try:
    code = subprocess.run(sys.argv[1:]).returncode
    ray.init(address="auto", log_to_driver=False)
    alive = lambda: sum(node["Alive"] for node in ray.nodes())
    print("nodes after the launch:", alive(), "of", len(ray.nodes()), flush=True)
    deadline = time.monotonic() + PATIENCE
    while alive() > 1 and time.monotonic() < deadline:
        time.sleep(1)
    print("nodes when idle:", alive(), flush=True)
    sys.exit(code)
finally:
    cluster.shutdown()
"""


@NEEDS_ROOT
def test_a_cluster_grows_for_the_trials_and_shrinks_after_them(
    tmp_path: Path, network_file: Path, packed: Path
) -> None:
    write_experiment(tmp_path, network_file, packed, 60)
    command = [ORCHESTRATOR, "run", "small.yaml", "--address", "auto"]
    isolated = [
        "unshare",
        "-p",
        "-n",
        "-f",
        "--mount-proc",
        "--kill-child",
        sys.executable,
        "-c",
        AUTOSCALED.replace("PATIENCE", str(PATIENCE)),
    ]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:  # the name of a socket has 107 bytes at most
        settings = environment(PATH=f"{PROGRAMS}:{os.environ['PATH']}", RAY_TMPDIR=short, RAY_enable_autoscaler_v2="0")
        found = subprocess.run(
            [*isolated, *command], cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=PATIENCE
        )
    said = found.stdout + found.stderr
    assert found.returncode == 0, said
    assert "waiting up to 15 minutes for the cluster to bring one up" in said
    assert said.count("complete, test accuracy") == 3
    came = re.search(r"nodes after the launch: \d+ of (\d+)", said)
    assert came is not None
    assert int(came[1]) > 1  # workers came
    assert "nodes when idle: 1" in said  # and went
