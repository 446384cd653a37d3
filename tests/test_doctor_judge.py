"""What the doctor makes of a node's facts, and how it gathers them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from orchestrator.cluster.doctor import Finding, Level, gather, judge, worst
from orchestrator.cluster.doctor.judge import judge_clock
from orchestrator.cluster.doctor.listening import is_loopback, program_of


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """The real facts of this machine."""
    return gather(["/"])


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in found}


def altered(facts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**facts, **changes}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Python", lambda f: altered(f, python="3.11.99")),
        ("Ray", lambda f: altered(f, packages={**f["packages"], "ray": "2.59.0"})),
        ("Ray", lambda f: altered(f, packages={**f["packages"], "ray": ""})),
        ("torch", lambda f: altered(f, packages={**f["packages"], "torch": "2.12.1"})),
        ("orchestrator", lambda f: altered(f, source="0" * 64, commit="")),
        ("orchestrator", lambda f: altered(f, packages={**f["packages"], "architecture-orchestrator": "0.0.9"})),
    ],
)
def test_a_node_with_other_versions(name: str, change: Any, facts: dict[str, Any]) -> None:
    found = by_name(judge("h2", change(facts), facts, 1e9))
    assert found[name].status is Level.FAILURE
    assert "uv sync" in found[name].advice
    others = {"Python", "Ray", "torch", "orchestrator"} - {name}
    assert {found[other].status for other in others} == {Level.OK}


GIB = 2**30
GPU = {"index": "0", "name": "H200", "total": 140 * GIB, "free": 139 * GIB, "driver": "580.65"}


@pytest.mark.parametrize(
    ("name", "changes", "level", "words"),
    [
        ("GPU", {"gpus": [GPU], "cuda_problem": ""}, Level.OK, "139 of 140 GiB free"),
        ("GPU", {"gpus": [{**GPU, "free": 3 * GIB}], "cuda_problem": ""}, Level.WARNING, "3 of 140 GiB free"),
        ("GPU", {"gpus": [GPU], "cuda_problem": "driver too old"}, Level.FAILURE, "driver too old"),
        ("open files", {"open_files": [1024, 2**31]}, Level.WARNING, "1,024, fewer"),
        ("open files", {"open_files": [65_536, 65_536]}, Level.OK, "65,536"),
        ("shared memory", {"shared_memory": 64 * 2**20}, Level.WARNING, "falls back to the disk"),
        ("disk", {"disks": {"/x": {"total": 1e12, "free": 4e9}}, "ray_temp": "/y"}, Level.WARNING, "4.0 GB free"),
        ("disk", {"disks": {"/x": {"total": 1e12, "free": 4e10}}, "ray_temp": "/x"}, Level.WARNING, "stops spilling"),
        ("disk", {"disks": {"/x": {"total": 1e12, "free": 4e10}}, "ray_temp": "/y"}, Level.OK, "40.0 GB free"),
    ],
)
def test_what_is_judged(name: str, changes: dict[str, Any], level: Level, words: str, facts: dict[str, Any]) -> None:
    found = by_name(judge("h1", altered(facts, **changes)))[name]
    assert found.status is level
    assert words in found.value
    assert bool(found.advice) is (level is not Level.OK)


def test_what_nvidia_smi_says_that_is_no_row_or_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["No devices were found", "0, H200, 143771, [N/A], 580.65", "1, H200, [N/A], [N/A], 580.65"]
    program = tmp_path / "nvidia-smi"
    program.write_text("\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines)]))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = gather()
    assert [gpu["index"] for gpu in found["gpus"]] == ["0", "1"]
    gpu = by_name(judge("h1", {**found, "cuda_problem": ""}))["GPU"]
    assert (gpu.status, gpu.value) == (Level.OK, "0: H200; 1: H200; driver 580.65")


def test_what_listens_on_a_node(facts: dict[str, Any]) -> None:
    row = {"program": "ray", "pid": 7, "token": True, "ip": "10.0.0.1", "port": 6379, "loopback": False}
    local = {**row, "ip": "127.0.0.1", "loopback": True}

    def level(listeners: list[dict[str, Any]], store: float | None) -> Level:
        found = judge("h1", altered(facts, listeners=listeners), None, store)
        return worst(f for f in found if f.name == "listening")

    assert level([], None) is level([local], None) is Level.OK
    assert level([row], 1e9) is Level.OK  # a cluster's node must be reached; it asks for a token
    assert level([row], None) is Level.WARNING
    assert level([{**row, "token": False}], 1e9) is Level.FAILURE
    assert level([{**row, "program": "mlflow"}], 1e9) is Level.WARNING
    assert [is_loopback(ip) for ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "10.0.0.1")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert program_of(["ray::IDLE"]) == program_of(["/x/ray/core/src/ray/gcs/gcs_server", "--a"]) == "ray"
    assert program_of(["/x/.venv/bin/mlflow", "server"]) == program_of(["python", "-m", "mlflow.server"]) == "mlflow"
    assert program_of(["vim", "notes-on-ray.txt"]) == program_of([]) == ""


@pytest.mark.parametrize(
    ("offset", "uncertainty", "level"),
    [
        (0.0, 0.01, Level.OK),
        (-0.9, 0.0, Level.OK),
        (1.5, 1.0, Level.OK),
        (-2.0, 0.1, Level.WARNING),
        (90, 1, Level.FAILURE),
    ],
)
def test_clocks(offset: float, uncertainty: float, level: Level) -> None:
    found = judge_clock("h1", offset, uncertainty)
    assert found.status is level
    assert bool(found.advice) is (level is not Level.OK)


WITHOUT_US = """
import importlib.machinery, json, pickle, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "orchestrator" else super().find_spec(name, path, target)

sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.meta_path = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
gather, folders = pickle.loads(open(sys.argv[1], "rb").read())
found = gather(folders)
assert "orchestrator" not in sys.modules
print(json.dumps(found))
"""


def test_facts_are_gathered_where_this_package_is_not_installed(tmp_path: Path) -> None:
    from ray import cloudpickle

    from orchestrator.cluster.doctor.nodes import SENT, sent_by_value

    with sent_by_value(*SENT):
        (tmp_path / "gather.pickle").write_bytes(cloudpickle.dumps((gather, [str(tmp_path)])))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, "gather.pickle"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["source"], found["commit"]) == ("", "")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
