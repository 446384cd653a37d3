"""The doctor finds planted trouble, each with what mends it, and says nothing is wrong where nothing is."""

import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.cluster.doctor import Finding, Level, check_storage, gather, judge, reach, worst
from orchestrator.cluster.doctor.judge import judge_clock
from orchestrator.cluster.doctor.listening import is_loopback, program_of
from orchestrator.data import Dataset, save_packed

ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))
RAY = str(Path(sys.executable).with_name("ray"))
TOKEN = "0123456789abcdef" * 4
EXPERIMENT = 'name: small\nvariants: [stride]\nseeds: [0]\ndataset: {{name: "{data}"}}\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with nothing in it, so that what this machine's user has is not looked at."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def doctor(
    home: Path, *arguments: str, limit: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``orchestrator doctor``, in a home folder of its own, with ``limit`` open files."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "ORCHESTRATOR_"))}
    command = [ORCHESTRATOR, "doctor", *arguments]
    if limit is not None:
        command = ["bash", "-c", f"ulimit -n {limit}; exec {shlex.join(command)}"]
    return subprocess.run(
        command,
        cwd=home,
        env={**known, "HOME": str(home), "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
    )


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, str]]]:
    """The findings of a JSON document by name, after looking at its form."""
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"checks", "worst"}
    assert done.returncode == (document["worst"] == "failure")
    by_name: dict[str, list[dict[str, str]]] = {}
    for check in document["checks"]:
        assert set(check) == {"node", "name", "status", "value", "advice"}
        assert check["status"] == "ok" or check["advice"], check  # whatever is not well says what to do
        by_name.setdefault(check["name"], []).append(check)
    order = ["ok", "warning", "failure"]
    assert document["worst"] == max((c["status"] for c in document["checks"]), key=order.index)
    return by_name


def test_a_healthy_machine(home: Path) -> None:
    done = doctor(home, "--json")
    found = checks(done)
    expected = {"Python", "Ray", "torch", "orchestrator", "GPU", "disk", "open files", "listening", "tracking", "data"}
    assert expected | {"storage"} <= set(found)
    ours = expected - {"GPU", "disk", "open files", "listening"} | {"storage"}  # those are the machine's own
    assert {check["status"] for name in ours for check in found[name]} == {"ok"}
    assert found["Python"][0]["value"] == ".".join(map(str, sys.version_info[:3]))
    assert checks(doctor(home, "--json", "--storage", "deep/er/storage"))["storage"][0]["status"] == "ok"
    assert list(home.iterdir()) == []  # nothing is left behind, not even the store or the storage folder


def test_the_table_fits_a_terminal(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    (home / ".ray" / "auth_token").chmod(0o640)
    done = doctor(home, "--tracking-uri", "http://127.0.0.1:1", limit=1024)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert done.returncode == 1
    for words in ("✓ Python", "! open files", "→ ", "65536", "✗ token file", "✗ tracking", "2 failures, "):
        assert words in done.stdout
    assert "Traceback" not in done.stderr


def test_a_token_that_others_can_read(home: Path) -> None:
    (home / ".ray").mkdir()
    file = home / ".ray" / "auth_token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    done = doctor(home, "--json")
    [check] = checks(done)["token file"]
    assert (check["status"], check["advice"]) == ("failure", f"chmod 600 {file}")
    assert TOKEN not in done.stdout + done.stderr
    subprocess.run(check["advice"].split(), check=True)
    assert checks(doctor(home, "--json"))["token file"][0]["status"] == "ok"


def test_few_open_files(home: Path) -> None:
    [check] = checks(doctor(home, "--json", limit=1024))["open files"]
    assert check["status"] == "warning"
    assert check["value"] == "1,024, fewer than 65,536"
    assert "65536" in check["advice"]


def test_a_file_where_the_storage_folder_should_be(home: Path) -> None:
    (home / "storage").mkdir()
    assert checks(doctor(home, "--json"))["storage"][0]["status"] == "ok"
    (home / "storage").rmdir()  # it was there, so it still is, and nothing is in it
    (home / "storage").write_text("not a folder")
    [check] = checks(doctor(home, "--json"))["storage"]
    assert check["status"] == "failure"
    assert "File exists" in check["value"] or "Not a directory" in check["value"]
    assert (home / "storage").read_text() == "not a folder"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with no room left."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(OSError, match="No space left"):
            (folder / "fill").write_bytes(b"0" * 1_000_000)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(home: Path, full_disk: Path) -> None:
    before = sorted(path.name for path in full_disk.iterdir())
    found = checks(doctor(home, "--json", "--storage", str(full_disk)))
    assert found["storage"][0]["status"] == "failure"
    assert "No space left" in found["storage"][0]["value"]
    [disk] = [check for check in found["disk"] if str(full_disk) in check["value"]]
    assert disk["status"] == "failure"
    assert sorted(path.name for path in full_disk.iterdir()) == before


OPEN_TO_ALL = (
    "import socket, sys, time; s = socket.create_server(('0.0.0.0', 0)); print('up', flush=True); time.sleep(300)"
)


def test_a_server_of_ours_that_anybody_reaches(home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", OPEN_TO_ALL, "mlflow", "server"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        found = [c for c in checks(doctor(home, "--json"))["listening"] if str(process.pid) in c["advice"]]
        assert [check["status"] for check in found] == ["warning"]
        assert "0.0.0.0:" in found[0]["value"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert not [c for c in checks(doctor(home, "--json"))["listening"] if str(process.pid) in c["advice"]]


def test_the_data_of_an_experiment(home: Path, dataset: Dataset) -> None:
    data = home / "pictures.pt"
    save_packed(dataset, data)
    (home / "small.yaml").write_text(EXPERIMENT.format(data=data))
    [check] = checks(doctor(home, "small.yaml", "--json"))["data"]
    assert (check["status"], dataset.digest[:12] in check["value"]) == ("ok", True)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    [check] = checks(doctor(home, "small.yaml", "--json"))["data"]
    assert check["status"] == "failure"
    assert "pictures.pt" in check["value"]
    (home / "small.yaml").write_text("nome: small\n")
    wrong = doctor(home, "small.yaml", "--json")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "http://me:s3cretword@127.0.0.1:1", "postgresql://me:s3cretword@127.0.0.1:1/runs"]
)
def test_a_tracking_server_that_is_not_there(uri: str, home: Path) -> None:
    done = doctor(home, "--json", MLFLOW_TRACKING_URI=uri)
    [check] = checks(done)["tracking"]
    assert check["status"] == "failure"
    assert "127.0.0.1:1" in check["value"]
    assert "s3cretword" not in done.stdout + done.stderr


def test_a_store_that_another_process_holds(home: Path) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.commit()
        assert checks(doctor(home, "--json"))["tracking"][0]["status"] == "ok"
        database.execute("BEGIN EXCLUSIVE")
        [check] = checks(doctor(home, "--json"))["tracking"]
        database.rollback()
    assert check["status"] == "failure"
    assert "locked" in check["value"]
    (home / "mlflow.db").write_bytes(b"this is no database at all" * 100)
    assert "not a database" in checks(doctor(home, "--json"))["tracking"][0]["value"]


def test_a_cluster_that_is_not_there(home: Path) -> None:
    done = doctor(home, "--json", "--address", "127.0.0.1:1")
    [check] = checks(done)["cluster"]
    assert (check["status"], check["value"]) == ("failure", "nothing answers at 127.0.0.1:1: Connection refused")
    assert done.stderr == ""


def test_storage_in_an_object_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="launches")
        found = check_storage(f"s3://launches/here{options}")
        assert (found.status, found.value.startswith("s3://launches/here written and read in ")) == (Level.OK, True)
        left = {item["Key"] for item in client.list_objects_v2(Bucket="launches").get("Contents", [])}
        assert left <= {"here/"}  # pyarrow's mark for the folder itself
        absent = check_storage(f"s3://absent/here{options}")
        assert absent.status is Level.FAILURE
        assert "endpoint_override" not in absent.value
    finally:
        server.stop()


def test_what_one_wrote_and_another_does_not_see(tmp_path: Path) -> None:
    assert reach.write(str(tmp_path), "probe", "h1") == ""
    assert reach.unseen(str(tmp_path), "probe", ["h1", "h2"]) == ["h2"]
    (tmp_path / "probe" / "h1").write_text("something else")
    assert reach.unseen(str(tmp_path), "probe", ["h1"]) == ["h1"]
    reach.clean(str(tmp_path), "probe")
    found = reach.storage_finding("h3", "/mnt", "", ["h1", "h2"], 0.1)
    assert found.status is Level.FAILURE
    assert "h1, h2" in found.value


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
        [sys.executable, "-c", WITHOUT_US, "gather.pickle"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["source"], found["commit"]) == ("", "")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


class Cluster:
    """A head and two more nodes on loopback, all asking for a token, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(ORCHESTRATOR).parent}:{os.environ['PATH']}",
        }
        with socket.socket() as gcs, socket.socket() as dashboard:
            gcs.bind(("127.0.0.1", 0))
            dashboard.bind(("127.0.0.1", 0))
            port, dashboard_port = gcs.getsockname()[1], dashboard.getsockname()[1]
        self.address, self.url = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}"
        temp = ["--temp-dir", str(folder / "ray")]
        self.start("--head", f"--port={port}", "--num-cpus=0", f"--dashboard-port={dashboard_port}", *temp)

    def start(self, *arguments: str, before: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """``ray start`` with ``arguments``, after ``before`` has been said to the shell."""
        command = [
            RAY,
            "start",
            "--node-ip-address=127.0.0.1",
            "--object-store-memory=100000000",
            "--block",
            *arguments,
        ]
        with (self.folder / f"node-{len(self.processes)}.txt").open("wb") as output:
            process = subprocess.Popen(
                ["unshare", "--mount", "bash", "-c", f"{before}\nexec {shlex.join(command)}"],
                env={**self.environment, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def wait(self, words: str) -> None:
        """Until the last node says ``words``."""
        output = self.folder / f"node-{len(self.processes) - 1}.txt"
        deadline = time.monotonic() + 120
        while words not in output.read_text():
            assert self.processes[-1].poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)

    def end(self) -> None:
        """Kill every process that was started, and whatever became of their children."""
        alive = [process for process in self.processes if process.poll() is None]
        family = [child for process in alive for child in psutil.Process(process.pid).children(recursive=True)]
        for process in self.processes:
            process.kill()
        for orphan in family:
            if orphan.is_running():
                orphan.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("c"))
    try:
        started.wait("runtime started")
        yield started
    finally:
        started.end()


@pytest.mark.cluster
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_every_node_of_a_cluster(cluster: Cluster, home: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    look = ["--json", "--address", cluster.address, "--storage", str(storage)]
    cluster.start("--address", cluster.address, "--num-cpus=1")
    cluster.wait("runtime started")
    done = doctor(home, *look, **access)
    found = checks(done)
    assert {
        c["status"] for name in ("cluster", "token", "clock", "storage", "Ray", "orchestrator") for c in found[name]
    } == {"ok"}, done.stdout
    assert len(found["storage"]) == 3  # two nodes and here
    assert found["token"][0]["value"] == "the cluster turns strangers away (401)"
    assert list(storage.iterdir()) == []
    assert TOKEN not in done.stdout + done.stderr

    # A node whose package has been edited, whose storage is not the shared one, and with few open files.
    other = tmp_path / "other"
    shutil.copytree(sys.modules["orchestrator"].__path__[0], other / "orchestrator")
    with (other / "orchestrator" / "__init__.py").open("a") as file:
        file.write("# edited\n")
    odd = cluster.start(
        "--address", cluster.address, "--num-cpus=1",
        before=f"mount -t tmpfs none {storage}; ulimit -Sn 4096", PYTHONPATH=str(other),
    )  # fmt: skip
    cluster.wait("runtime started")
    done = doctor(home, *look, **access)
    found = checks(done)
    [package] = [c for c in found["orchestrator"] if c["status"] == "failure"]
    assert "the driver has" in package["value"]
    [files] = [c for c in found["open files"] if c["value"].startswith("4,096")]
    assert files["node"] == package["node"]
    blind = {c["node"] for c in found["storage"] if "does not see" in c["value"]}
    assert package["node"] in blind
    assert "here" in blind  # it does not see what that node wrote
    assert list(storage.iterdir()) == []

    # A node that hangs is a line, not a hang.
    [raylet] = [p for p in psutil.Process(odd.pid).children(recursive=True) if p.name() == "raylet"]
    raylet.send_signal(signal.SIGSTOP)
    try:
        done = doctor(home, *look, "--patience", "8", **access)
    finally:
        raylet.send_signal(signal.SIGCONT)
    silent = checks(done)["node"]
    assert [c["value"] for c in silent] == ["did not answer within 8 seconds"]
    assert silent[0]["node"] == package["node"]

    # Without the token nothing is learnt.
    refused = doctor(home, *look, **{**access, "RAY_AUTH_TOKEN": "f" * 64})
    [check] = checks(refused)["cluster"]
    assert check["status"] == "failure"
    assert "RAY_AUTH_TOKEN" in check["advice"]
    assert "clock" not in checks(refused)
