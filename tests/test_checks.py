"""What each check says about a machine, and that the checks run on a node without this package."""

import importlib.machinery
import importlib.util
import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from patience import PATIENCE
from planting import plant

import orchestrator
from orchestrator.checks import Request
from orchestrator.checks.catalog import ALL, BEFORE_LAUNCH, ON_MACHINE, SENT
from orchestrator.checks.check import Outcome, run_on_machine
from orchestrator.checks.driver import evaluate_clock
from orchestrator.checks.listening import Socket, evaluate_sockets, program_of
from orchestrator.checks.versions import VERSIONS
from orchestrator.scheduling.each_node import sent_by_value

GIB = 2**30


@pytest.fixture(scope="module")
def installed() -> dict[str, str]:
    """The real versions of this machine."""
    return {name: version() for name, version in VERSIONS.items()}


def one(name: str, request: Request) -> Outcome:
    """The one outcome of the check called ``name``."""
    [(_, outcome)] = run_on_machine({name: ON_MACHINE[name]}, request)
    return outcome


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("Python", "3.11.99"),
        ("Ray", "2.59.0"),
        ("torch", "2.12.1"),
        ("orchestrator", "0.1.0, source 000000000000"),
        ("orchestrator", "0.0.9, source 000000000000"),
    ],
)
def test_a_node_with_other_versions(name: str, version: str, installed: dict[str, str]) -> None:
    request = Request("/", versions={**installed, name: version})
    level, value, advice = one(name, request)
    assert (level, value) == ("failure", f"{installed[name]}; the driver has {version}")
    assert "uv sync" in advice
    assert {one(other, request)[0] for other in set(VERSIONS) - {name}} == {"ok"}


@pytest.mark.parametrize("name", VERSIONS)
def test_what_is_not_installed(name: str, installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, name, lambda: "")
    assert one(name, Request("/", versions=installed))[:2] == ("failure", "not installed")
    assert one(name, Request("/"))[0] == "failure"


def test_an_edited_package_has_another_version(
    tmp_path: Path, installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(orchestrator.__path__[0], tmp_path / "orchestrator"))
    found = importlib.machinery.ModuleSpec("orchestrator", None, origin=str(copy / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    request = Request("/", versions=installed)
    assert one("orchestrator", request) == ("ok", installed["orchestrator"], "")
    with (copy / "records.py").open("a") as file:
        file.write("# edited\n")
    assert one("orchestrator", request)[0] == "failure"


def test_a_network_whose_source_differs(network_file: Path) -> None:
    from orchestrator.architectures import source_digest

    variant = f"{network_file}:Tiny"
    assert one("networks", Request("/", networks={(variant,): source_digest(variant)})) == ("ok", variant, "")
    level, value, advice = one("networks", Request("/", networks={(variant,): "0" * 64}))
    assert (level, value) == ("failure", f"the source of {variant} differs from the driver's")
    assert "orchestrator submit" in advice
    level, value, _ = one("networks", Request("/", networks={(f"{network_file}x.py:Tiny",): "0" * 64}))
    assert level == "failure"
    assert "no readable file" in value
    assert run_on_machine({"networks": ON_MACHINE["networks"]}, Request("/")) == []


TORCH = """
print("a message of torch's own")
GPUS = {gpus}

class cuda:
    device_count = staticmethod(lambda: len(GPUS))
    get_device_name = staticmethod(lambda i: "H200")
    mem_get_info = staticmethod(lambda i: (GPUS[i], {total}))

class ones:
    def __init__(self, size, device):
        self.gpu = GPUS[int(device.removeprefix("cuda:"))]

    def item(self):
        if self.gpu is None:
            raise RuntimeError("driver too old")
"""


@pytest.mark.parametrize(
    ("free", "level", "value"),
    [
        ([139 * GIB], "ok", "H200, 139 of 140 GiB free"),
        ([139 * GIB, 3 * GIB], "warning", "H200, 139 of 140 GiB free; H200, 3 of 140 GiB free"),
        ([], "failure", "torch sees no GPU"),
        ([None], "failure", "RuntimeError: driver too old"),
    ],
)
def test_gpus(free: list[int | None], level: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(TORCH.format(gpus=free, total=140 * GIB))
    (tmp_path / "nvidia-smi").touch(mode=0o755)  # there is a driver
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    told = plant(tmp_path / "here", "torch", "json", "random")  # no modules of the process that looks
    found = one("GPU", Request("/"))
    assert not told.exists()
    assert found[:2] == (level, value)
    assert bool(found[2]) is (level != "ok")


@pytest.mark.parametrize(
    ("free", "name", "level", "words"),
    [
        (4e8, "disk", "failure", "0.4 GB free"),
        (4e9, "disk", "warning", "4.0 GB free"),
        (4e10, "temporary disk", "warning", "stops spilling"),
        (4e10, "disk", "ok", "40.0 GB free of 1,000"),
        (4e11, "temporary disk", "ok", "400.0 GB free"),
    ],
)
def test_disks(free: float, name: str, level: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"total": 1e12, "free": free, "used": 1e12 - free})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    monkeypatch.setenv("RAY_TMPDIR", "/x")
    found = one(name, Request("/"))
    assert found[0] == level
    assert words in found[1]
    assert bool(found[2]) is (level != "ok")


@pytest.mark.parametrize(
    ("limits", "level", "value"),
    [
        ((1024, 2**31), "warning", "1,024, fewer than 65,536"),
        ((65_536, 65_536), "ok", "65,536"),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", "no limit"),
    ],
)
def test_open_files(limits: tuple[int, int], level: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert one("open files", Request("/"))[:2] == (level, value)


def test_shared_memory_smaller_than_the_object_store() -> None:
    level, value, advice = one("shared memory", Request("/", object_store=1e15))
    assert (level, "falls back to the disk" in value, "/dev/shm" in advice) == ("warning", True, True)
    assert one("shared memory", Request("/", object_store=1.0))[0] == "ok"


def test_what_listens_on_a_node() -> None:
    outside = Socket("ray", 7, "10.0.0.1", 6379, token=True)
    local = outside._replace(ip="127.0.0.1")

    def level(sockets: list[Socket], in_cluster: bool) -> str:
        [(found, _, advice)] = evaluate_sockets(sockets, in_cluster)
        assert bool(advice) is (found != "ok")
        return found

    assert level([], False) == level([local], False) == "ok"
    assert level([outside], True) == "ok"  # a cluster's node must be reached; it requires a token
    assert level([outside], False) == "warning"
    assert level([outside._replace(token=False)], True) == "failure"
    assert level([outside._replace(token=False)], False) == "warning"
    assert level([outside._replace(program="mlflow")], True) == "warning"
    assert program_of(["ray::IDLE"]) == program_of(["/x/ray/core/src/ray/gcs/gcs_server", "--a"]) == "ray"
    assert program_of(["/x/.venv/bin/mlflow", "server"]) == program_of(["python", "-m", "mlflow.server"]) == "mlflow"
    assert program_of(["vim", "notes-on-ray.txt"]) == program_of([]) == ""


@pytest.mark.parametrize(
    ("offset", "uncertainty", "level"),
    [(0.0, 0.01, "ok"), (-0.9, 0.0, "ok"), (1.5, 1.0, "ok"), (-2.0, 0.1, "warning"), (90, 1, "failure")],
)
def test_clocks(offset: float, uncertainty: float, level: str) -> None:
    found, _, advice = evaluate_clock(uncertainty, offset)
    assert found == level
    assert bool(advice) is (level != "ok")


def test_every_check_of_a_launch_is_one_of_the_doctors() -> None:
    assert set(BEFORE_LAUNCH) < set(ALL)
    assert len(set(ALL)) == len(ALL)


WITHOUT_US = """
import importlib.machinery, json, pickle, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "orchestrator" else super().find_spec(name, path, target)

sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.meta_path = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
run_on_machine, checks, request = pickle.loads(open(sys.argv[1], "rb").read())
found = run_on_machine(checks, request)
assert "orchestrator" not in sys.modules
print(json.dumps(found))
"""


def test_checks_run_where_this_package_is_not_installed(tmp_path: Path, installed: dict[str, str]) -> None:
    from ray import cloudpickle

    request = replace(Request(str(tmp_path), networks={("net.py:Net",): "0"}), versions=installed, object_store=1e9)
    with sent_by_value(*SENT):
        (tmp_path / "sent.pickle").write_bytes(cloudpickle.dumps((run_on_machine, ON_MACHINE, request)))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, "sent.pickle"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(done.stdout))
    assert found["orchestrator"][:2] == ["failure", "not installed"]
    assert found["networks"][0] == "failure"
    assert {found[name][0] for name in ("Python", "Ray", "torch")} == {"ok"}
    assert {"GPU", "disk", "open files", "listening"} <= set(found)
