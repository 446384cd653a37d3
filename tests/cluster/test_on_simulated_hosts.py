"""A cluster of simulated hosts, as its user sees it: up, doctor, submit, what happens to hosts, compare, stop, down.

The tests are one story and run in this order; each stands on what those before it left.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import TINY, make_dataset
from lab import Lab, missing
from lab.cluster import CLIENT, HEAD, STORAGE, WORKERS, Cluster
from lab.lab import HOME
from patience import PATIENCE

from orchestrator.data import save_packed

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(missing()), reason=missing() or "can run"),
]

NETWORKS = TINY.replace("/nonexistent", "/mnt/nfs/pace")
LAST = 40
EXPERIMENT = """
name: small
variants: ["networks.py:Slow"]
seeds: [0, 1, 2, 3, 4, 5]
dataset: {name: /mnt/nfs/data/tiny.pt}
trainer: {epochs: 40, batch_size: 16, optimizer: {lr: 0.1}, augmentation: [{HorizontalFlip: {p: 0.5}}]}
"""
TRIALS = [f"Slow/seed-{seed}" for seed in range(6)]
COMPARE = """
import json
from pathlib import Path
from orchestrator.workflow.verify import compare, content
left = [content(Path(folder), "small") for folder in ("/mnt/nfs/undisturbed", Path.home() / "left")]
hosts = []
for launch in left:
    for trial, found in launch.items():
        if "MLflow params" in found:  # it says where the network's file lay, which is another place in a job
            found["MLflow params"]["variant"] = Path(found["MLflow params"]["variant"]).name
            hosts.append(found["MLflow tags"].pop("host"))  # where it ended
differences = compare(*left)
details = [[launch.get(d.split(":")[0], {}).get(d.split(": ")[1]) for launch in left] for d in differences]
print(json.dumps([sorted(left[0]), sorted(set(hosts)), differences, details]))
"""
SSH = "ssh -o StrictHostKeyChecking=no"
INIT = "import ray; ray.init('10.213.0.2:6379', log_to_driver=False); print('let in')"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as hosts:
        (hosts.shared / "data").mkdir()
        save_packed(make_dataset(), hosts.shared / "data/tiny.pt")
        hosts.start(CLIENT, HEAD, *WORKERS)
        write_experiment(hosts.path(CLIENT, f"{HOME}/work"))
        yield hosts


@pytest.fixture(scope="module")
def undisturbed(lab: Lab) -> Iterator["subprocess.Popen[bytes]"]:
    """The same experiment on the client alone, meanwhile."""
    folder = lab.shared / "undisturbed"
    write_experiment(folder)
    command = (
        "cd /mnt/nfs/undisturbed && orchestrator run small.yaml --storage storage --tracking-uri sqlite:///mlflow.db"
    )
    with (lab.folder / "undisturbed.log").open("wb") as log:
        process = subprocess.Popen(lab.command(CLIENT, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait()


@dataclass
class Story:
    """What the tests of the submitted experiment tell one another."""

    job: str = ""  # the newest
    told: dict[str, list[int]] = field(default_factory=dict)  # epochs by trial, as all jobs so far have told them

    def remember(self, epochs: dict[str, list[int]]) -> None:
        for trial, more in epochs.items():
            self.told.setdefault(trial, []).extend(more)


@pytest.fixture(scope="module")
def story(undisturbed: "subprocess.Popen[bytes]") -> Story:
    return Story()


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    made = Cluster(lab)
    made.up()
    made.attach()
    return made


def set_pace(lab: Lab, seconds: float) -> None:
    """How long each batch of every trial lasts from now on."""
    (lab.shared / "pace.new").write_text(str(seconds))
    (lab.shared / "pace.new").rename(lab.shared / "pace")


def write_experiment(folder: Path) -> None:
    folder.mkdir()
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "small.yaml").write_text(EXPERIMENT)


def test_ray_up_brings_up_every_host(cluster: Cluster) -> None:
    nodes = cluster.nodes()
    assert sorted(nodes) == ["10.213.0.2", "10.213.0.3", "10.213.0.4"]
    assert nodes["10.213.0.2"].get("CPU", 0) == 0  # the head takes no trials
    assert nodes["10.213.0.3"]["CPU"] == nodes["10.213.0.4"]["CPU"] == 1
    page = cluster.wait(
        "the tracking page", lambda: cluster.on_client("curl -s http://127.0.0.1:5000/", check=False).stdout
    )
    assert "MLflow" in page


def test_doctor_finds_no_failure(cluster: Cluster) -> None:
    said = cluster.on_head("orchestrator doctor --address auto --json", check=False)
    found = json.loads(said.stdout)
    failures = [check for check in found["checks"] if check["status"] == "failure"]
    assert failures == []
    assert said.returncode == 0
    assert {"h1", "h2", "h3"} <= {check["node"] for check in found["checks"]}


def test_who_has_no_token_is_refused(cluster: Cluster, lab: Lab) -> None:
    stranger = "HOME=/mnt/private RAY_AUTH_MODE=token"
    for path in ("api/jobs/", "api/version"):
        asked = lab.run(CLIENT, f"curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:8265/{path}")
        assert asked.stdout == "401"
    wrong = "-H 'Authorization: Bearer wrong' http://127.0.0.1:8265/api/jobs/"
    assert lab.run(CLIENT, f"curl -s -o /dev/null -w '%{{http_code}}' {wrong}").stdout == "403"
    refused = lab.run(CLIENT, f"cd work; {stranger} orchestrator submit small.yaml --no-wait", check=False)
    assert refused.returncode == 2
    assert "requires the cluster's token, and none was found" in refused.stderr
    for words in (stranger, "HOME=/mnt/private RAY_AUTH_MODE=disabled"):
        joined = lab.run(HEAD, f'{words} python -c "{INIT}"', check=False)
        assert joined.returncode != 0
        assert "let in" not in joined.stdout
    let_in = cluster.on_head(f'python -c "{INIT}"')
    assert "let in" in let_in.stdout


def test_storage_that_is_not_shared_is_refused_before_the_start(cluster: Cluster, lab: Lab) -> None:
    said = cluster.on_client("cd work && orchestrator submit small.yaml --storage /mnt/private/storage", check=False)
    assert said.returncode == 2, said
    for host in WORKERS:
        assert host in said.stdout + said.stderr
    assert not list(lab.path(WORKERS[0], "/mnt/private").rglob("trials"))


def test_hosts_come_and_go(cluster: Cluster, lab: Lab, story: Story) -> None:
    set_pace(lab, 0.05)
    job = story.job = cluster.submit("work")

    def under_way() -> bool:
        return sum(max(epochs) > 2 for epochs in cluster.epochs(job).values()) >= 2

    cluster.wait("two trials under way", under_way, job)
    set_pace(lab, 0.4)  # an epoch takes about three seconds now
    assert all(cluster.training(host) for host in WORKERS)
    assert not cluster.training(HEAD)

    lab.kill("h3")  # everything on it at once, in mid-epoch
    lab.start("h4")
    cluster.join("h4")  # a fresh host, which the file does not name
    cluster.wait("the fresh host to train", lambda: cluster.training("h4"), job)

    there = cluster.training("h4")
    lab.cut("h4")
    time.sleep(10)  # less than Ray's patience: nothing is to happen
    lab.heal("h4")
    before = cluster.epochs(job)
    cluster.wait("progress after the cut", lambda: cluster.epochs(job) != before, job)
    assert cluster.training("h4") == there  # the very processes

    [raylet] = [n for n, words in lab.processes("h2").items() if words.partition(" ")[0].endswith("/raylet")]
    lab.run("h2", f"kill -9 {raylet}")
    lab.start("h3")  # as after a reboot: Ray's autoscaler starts Ray again on both, and does nothing else there
    cluster.give_token("h3")
    cluster.wait("h2 and h3 to train again", lambda: cluster.training("h2") and cluster.training("h3"), job)


def test_a_stopped_job_finishes_its_epochs(cluster: Cluster, story: Story) -> None:
    said = cluster.on_client(f"orchestrator stop {story.job}")
    story.remember(cluster.epochs(story.job))
    state = cluster.state(story.job)
    assert (state["status"], state["exit_code"]) == ("stopped", 130), said
    assert any("the same orchestrator submit command" in line for line in cluster.log(story.job)[-5:]), cluster.log(
        story.job
    )[-20:]


def test_a_killed_driver_is_carried_on_by_submitting_again(cluster: Cluster, lab: Lab, story: Story) -> None:
    job = cluster.submit("work")
    cluster.wait("an epoch", lambda: cluster.epochs(job), job)
    [driver] = [n for n, words in lab.processes(HEAD).items() if "orchestrator run" in words and "python" in words]
    lab.run(HEAD, f"kill -9 {driver}")
    assert cluster.end(job) == "failed"
    story.remember(cluster.epochs(job))
    set_pace(lab, 0)
    job = story.job = cluster.submit("work")
    assert cluster.end(job) == "complete", cluster.evidence(job)
    story.remember(cluster.epochs(job))


def test_what_is_left_is_what_an_undisturbed_launch_leaves(
    cluster: Cluster, lab: Lab, story: Story, undisturbed: "subprocess.Popen[bytes]"
) -> None:
    for trial in TRIALS:
        epochs = story.told[trial]
        assert epochs.count(1) == 1, f"{trial} was begun again: {epochs}"
        assert sorted(set(epochs)) == list(range(1, LAST + 1))
    assert undisturbed.wait(timeout=PATIENCE) == 0, (lab.folder / "undisturbed.log").read_text()[-3000:]
    lab.run(HEAD, f"mkdir left && ln -s ~/tracking/mlflow.db left/mlflow.db && ln -s {STORAGE} left/storage")
    lab.path(HEAD, f"{HOME}/compare.py").write_text(COMPARE)
    said = lab.run(HEAD, "python compare.py").stdout
    compared, hosts, differences, details = json.loads(said.splitlines()[-1])
    assert compared == [*TRIALS, "the launch"]
    assert CLIENT in hosts
    assert set(hosts) <= {CLIENT, *WORKERS, "h4"}
    assert differences == [], details
    table = cluster.on_head("orchestrator compare small").stdout
    assert "Slow" in table
    assert "n = 6" in table


def test_down_leaves_nothing(cluster: Cluster, lab: Lab) -> None:
    cluster.down()
    cluster.wait("the head's end", lambda: not cluster.ray_processes(HEAD))
    for host in ("h2", "h3", "h4"):  # docs/cluster.md: `ray down` stops the head only
        cluster.on_client(f"{SSH} {host} 'bash -lic \"ray stop\"'")
        cluster.wait(f"the end on {host}", lambda host=host: not cluster.ray_processes(host))
    cluster.on_client(f"{SSH} {HEAD} 'pkill -f \"mlflow server\"'")
    cluster.wait("the page's end", lambda: not cluster.has_page())
