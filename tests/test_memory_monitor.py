"""A worker that Ray's own memory monitor kills: its trial gets the larger share at once, not the same one again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from patience import PATIENCE

GREEDY = '''
import pathlib
import time

import torch
from networks import Tiny


class Greedy(Tiny):
    """Fills the memory until it is killed, as often as the file beside it has dots."""

    def forward(self, x):
        want = pathlib.Path(__file__).with_name("appetite")
        if self.training and (left := want.exists() and want.read_text()):
            want.write_text(left[1:])
            eaten = [torch.ones(2**28, dtype=torch.uint8) for _ in range({pieces})]
            time.sleep({patience})
            del eaten
        return self.net(x)
'''

LAUNCH = """
import json
from pathlib import Path
from orchestrator.data import load_dataset
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.session import ray_session

plan = make_plan(read_experiment({"name": "small", "variants": ["greedy.py:Greedy"], "seeds": [0],
    "dataset": {"name": "tiny.pt"}, "trainer": {"epochs": 3, "batch_size": 32}}, "small"))
said = []
with ray_session(cpus=2) as nodes:
    data = load_dataset(plan.experiment.dataset, Path("."))
    launch = Launch(plan, data, Path("launch").resolve(), {"CPU": 1.0}, nodes=nodes)
    [outcome] = run_launch(launch, said.append).values()
print(json.dumps([said, outcome.status, outcome.failure, outcome.reason, Path("appetite").read_text()]))
"""
SPARE, PIECES = 2 * 2**30, 24  # bytes that others may use meanwhile; quarters of a GiB that a greedy trial takes


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("appetite", "status"), [(".", "complete"), ("...", "failed")])
def test_a_kill_by_rays_memory_monitor_gets_the_larger_share_at_once(
    network_file: Path, packed: Path, tmp_path: Path, appetite: str, status: str
) -> None:
    memory = psutil.virtual_memory()
    if memory.available < SPARE + PIECES * 2**28:
        pytest.skip("too little memory is free to fill some of it")
    (tmp_path / "greedy.py").write_text(GREEDY.format(pieces=PIECES, patience=PATIENCE))
    (tmp_path / "appetite").write_text(appetite)
    if packed != tmp_path / "tiny.pt":
        (tmp_path / "tiny.pt").write_bytes(packed.read_bytes())
    threshold = (memory.total - memory.available + SPARE) / memory.total
    environment = {
        **os.environ, "RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", LAUNCH], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    said, ended, failure, reason, left = json.loads(ran.stdout.splitlines()[-1])
    assert said == ["Greedy/seed-0: out of memory; once more with 2 CPU"]
    assert ended == status, reason
    if status == "failed":
        assert failure == "out_of_memory"
        assert left == "."  # twice, and not a third time


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        (["OutOfMemory: the node", "The node died"], "infrastructure"),
        (["The node died", "OutOfMemory"], "out_of_memory"),
    ],
)
def test_only_the_last_failure_says_why_a_trial_ended(tmp_path: Path, failures: list[str], kind: str) -> None:
    from ray.tune.experiment import Trial

    from orchestrator.scheduling.callback import LaunchCallback
    from orchestrator.scheduling.drain import Drain

    trial = SimpleNamespace(
        local_path=str(tmp_path), is_restoring=False, error_file=str(tmp_path / "error.txt"), checkpoint=None,
        run_metadata=SimpleNamespace(num_failures=0, invalidate_cache=lambda: None),
        config={"trial": {"name": "a", "resume_from": None, "measure": False}},
    )  # fmt: skip
    for failure in failures:
        Trial.handle_error(trial, RuntimeError(failure))  # Tune's own writing
    callback = LaunchCallback(tmp_path / "trials", (), Drain())
    callback.on_trial_error(0, [trial], trial)
    callback.deliver_outcomes(wait=True)
    callback.close()
    assert callback.outcomes["a"].failure == kind
