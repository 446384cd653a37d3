"""Jobs on a cluster: one an experiment, followed through cut connections, drained, resumed, and never a secret."""

import json
import re
import shutil
import socket
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest
from head import SECRETS, Head, Lines, Proxy, ray_head
from patience import PATIENCE
from placing import make_project

from orchestrator.cluster.address import connect
from orchestrator.errors import ResourceError
from orchestrator.trial import TrialFolder

EXPERIMENT = """
name: small
variants: ["nets/networks.py:Slow"]
seeds: [0, 1]
dataset: {{name: "{data}"}}
trainer: {{epochs: {epochs}, batch_size: 16, optimizer: {{lr: 0.1}}}}
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="oj-", dir="/tmp"))  # Ray's sockets need a short path
    for name in ("work", "nobody", "ray"):
        (folder / name).mkdir()
    (folder / "token").write_text("planted-cluster-token-0123456789abcdef\n")
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "ORCHESTRATOR_STORAGE": str(folder / "storage"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    try:
        with ray_head(folder / "ray", **settings) as port:
            yield Head(folder, port, "planted-cluster-token-0123456789abcdef")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_experiment(head: Head, packed: Path, networks: Path, epochs: int) -> None:
    work = head.folder / "work"
    (work / "nets").mkdir(exist_ok=True)
    shutil.copy(packed, head.folder / "tiny.pt")
    (work / "nets" / "beside.py").write_text(
        "from pathlib import Path\nSAID = Path(__file__).with_name('words.txt').read_text()\n"
    )
    (work / "nets" / "words.txt").write_text("hello")
    (work / "nets" / "networks.py").write_text("import beside\nassert beside.SAID == 'hello'\n" + networks.read_text())
    (work / "small.yaml").write_text(EXPERIMENT.format(data=head.folder / "tiny.pt", epochs=epochs))


def epochs_of(lines: Iterable[str]) -> dict[str, list[int]]:
    """The epochs that a job's output reports of each trial, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        if match := re.search(r" (\S+): epoch (\d+)/", line):
            found[match[1]].append(int(match[2]))
    return found


def assert_no_secret(head: Head) -> None:
    hidden = [*SECRETS.values(), "planted-", head.token]
    logs = [path.read_text(errors="replace") for path in head.folder.glob("ray/session_*/logs/job-driver-*.log")]
    assert logs
    for text in [json.dumps(head.jobs()), *logs]:
        assert not [secret for secret in hidden if secret in text]


@pytest.mark.cluster
def test_one_job_followed_through_a_cut_stopped_and_carried_on(head: Head, packed: Path, network_file: Path) -> None:
    pace = network_file.with_name("pace")
    pace.write_text("0.3")  # an epoch takes two seconds: it goes on however long a busy machine takes for the rest
    write_experiment(head, packed, network_file, epochs=300)
    submitted = json.loads(head.do("submit", "small.yaml", "--no-wait", "--json")[0])
    assert submitted.keys() == {"job", "status", "address"}
    job = submitted["job"]
    assert submitted["address"] == head.address
    joined, said = head.do("submit", "./small.yaml", "--no-wait", "--json")
    assert json.loads(joined)["job"] == job
    assert "joining it" in said

    proxy = Proxy(head.port)
    follower = head.begin("logs", job, "--follow", address=proxy.address)
    out, err = Lines(follower.stdout), Lines(follower.stderr)
    seen = out.wait_for("epoch 5/", follower)
    for _ in range(2):
        said_before = len(err.lines)
        proxy.cut()
        lost = err.wait_for("lost", follower, said_before)
        proxy.heal()
        err.wait_for("reconnected", follower, lost)
        seen = out.wait_for("epoch ", follower, seen + 1)
    assert Counter("lost" in line for line in err.lines)[True] == 2  # each is told once
    _, said = head.do("stop", job)
    assert "stopping after the epochs in progress" in said
    assert "resume with: orchestrator submit ./small.yaml" in said or "orchestrator submit small.yaml" in said
    assert follower.wait(timeout=PATIENCE) == 130
    out.thread.join(PATIENCE)
    proxy.close()
    whole = head.do("logs", job)[0].splitlines(keepends=True)
    assert [line for line in whole if "Runtime env" not in line and "Running entrypoint" not in line] == out.lines
    assert not [line for line in out.lines if line.startswith("@")]
    assert "ending: the epochs in progress are finished first" in "".join(whole)
    [guard] = head.folder.glob(f"ray/session_2*/logs/jobs/supervisor-{job}.log")  # Ray's own word: it was not killed
    assert "terminated gracefully" in guard.read_text()
    assert max(Counter(line[9:] for line in out.lines if ": epoch " in line).values()) == 1
    told = epochs_of(out.lines)
    assert max(map(max, told.values())) < 300, "it was over before it was stopped: the test has shown nothing"
    state = next(state for state in json.loads(head.do("status", "--json")[0]) if state["job"] == job)
    assert (state["job"], state["status"], state["exit_code"], state["trials"]) == (job, "stopped", 130, 2)

    pace.unlink()
    document, said = head.do("submit", "small.yaml", "--json")
    assert f"{job}-2 resumes it" in said
    result = json.loads(document)
    assert [(t["trial"], t["status"], t["epochs"]) for t in result["trials"]] == [
        ("Slow/seed-0", "complete", 300),
        ("Slow/seed-1", "complete", 300),
    ]
    carried_on = head.do("logs", f"{job}-2")[0]
    for trial, epochs in epochs_of(carried_on.splitlines()).items():  # none is trained, or told, a second time
        assert f"{trial}: resumes after epoch {told[trial][-1]}/300" in carried_on
        assert epochs == list(range(told[trial][-1] + 1, 301))
    [launch] = (head.folder / "storage" / "small").glob("*/launch.json")
    for seed in (0, 1):
        trial = TrialFolder(launch.parent / "trials" / "Slow" / f"seed-{seed}")
        assert [r.epoch for r in trial.records() if not r.final] == list(range(1, 301))

    again, said = head.do("submit", "small.yaml", "--json")
    assert json.loads(again) == result
    assert "has already run this experiment" in said
    assert {job, f"{job}-2"} <= {state["job"] for state in json.loads(head.do("status", "--json")[0])}
    table = head.do("status")[0]
    assert "stopped" in table
    assert "complete" in table
    assert head.do("stop", job)[1].startswith("it had already ended")
    assert_no_secret(head)


@pytest.mark.cluster
def test_two_at_once_are_one_job_and_exit_codes_come_home(head: Head, packed: Path, network_file: Path) -> None:
    network_file.with_name("pace").write_text("20")  # so that neither comes when the other's job has ended
    write_experiment(head, packed, network_file, epochs=1)
    arguments = ["submit", "small.yaml", "--set", 'variants=["nets/networks.py:Failing"]', "--set", "seeds=[0]"]
    before = len(head.jobs())
    both = [head.begin(*arguments), head.begin(*arguments)]
    said = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [1, 1], "\n".join(map("".join, said))
    assert len(head.jobs()) == before + 1
    for out, _ in said:
        assert "RuntimeError: planted failure" in out
    lacking = ["submit", "small.yaml", "--set", "dataset.name=no-such-data"]
    out, _ = head.do(*lacking, code=2)
    assert "there is no dataset 'no-such-data'" in out
    assert_no_secret(head)


@pytest.mark.cluster
def test_a_job_finds_what_the_experiment_and_its_network_name_by_relative_paths(head: Head) -> None:
    work = head.folder / "work" / "placed"
    shutil.rmtree(work, ignore_errors=True)
    make_project(work)
    for path in ("classes.txt", "scale.txt", "weights"):  # what a network opens is where the user stands
        shutil.rmtree(work.parent / path, ignore_errors=True)
        (work / path).rename(work.parent / path)
    one_worker = "resources.max_concurrent_trials=1"  # which trains both
    out, _ = head.do("submit", "placed/exp/placed.yaml", "--set", "seeds=[0]", "--set", one_worker)
    assert "narrow/seed-0: complete" in out
    assert "wide/seed-0: complete" in out
    [launch] = (head.folder / "storage" / "placed").glob("*/launch.json")
    content = json.loads(launch.read_text())
    assert content["directory"] is None
    assert content["experiment"]["variants"][0]["name"] == "placed/exp/nets/net.py:Net"
    assert content["experiment"]["dataset"]["name"] == "placed/exp/images.pt"


@pytest.mark.cluster
def test_who_is_let_in_and_what_is_not_there(head: Head) -> None:
    _, said = head.do("status", code=2, RAY_AUTH_TOKEN="wrong-" * 8)
    assert "rejects the token (403)" in said
    assert "RAY_AUTH_TOKEN_PATH" in said
    _, said = head.do("status", code=2, RAY_AUTH_TOKEN="")
    assert "requires the cluster's token, and none was found" in said
    _, said = head.do("status", code=2, RAY_AUTH_TOKEN="", RAY_AUTH_MODE="token")
    assert "requires the cluster's token, and none was found" in said
    for command in ("status", "logs", "stop"):
        _, said = head.do(command, "no-such-job", code=2)
        assert "has no job 'no-such-job'; it has: " in said
        assert len(said.strip().splitlines()) == 1


@pytest.mark.cluster
def test_an_open_or_unencrypted_cluster_elsewhere_is_refused(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of this machine that is not loopback stands for elsewhere; the proxies let in nobody but us."""
    own = [a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET]
    elsewhere = next((ip for ip in own if not ip.startswith("127.")), None)
    if elsewhere is None:
        pytest.skip("this machine has no address but loopback")
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="oj-", dir="/tmp"))
    warnings: list[str] = []
    try:
        with ray_head(folder, RAY_AUTH_MODE="disabled") as port:
            assert connect(f"http://127.0.0.1:{port}").headers == {}
            proxy = Proxy(port, elsewhere)
            with pytest.raises(ResourceError, match=r"requires no token.*--insecure"):
                connect(proxy.address)
            assert connect(proxy.address, insecure=True, warn=warnings.append).headers == {}  # no token is sent
            proxy.close()
        proxy = Proxy(head.port, elsewhere)
        with pytest.raises(ResourceError, match=r"not encrypted.*--insecure"):
            connect(proxy.address)
        assert head.token in connect(proxy.address, insecure=True, warn=warnings.append).headers["Authorization"]
        proxy.close()
        assert [("requires no token" in w, "not encrypted" in w) for w in warnings] == [(True, False), (False, True)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
