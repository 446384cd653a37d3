"""The cluster files, held against Ray's own validation, commands and shell, and against what they promise."""

import copy
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from patience import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.name: path for path in [ROOT / "cluster.yaml", *sorted((ROOT / "clusters").glob("*.yaml"))]}
TEXTS = {**FILES, "Dockerfile": ROOT / "clusters" / "Dockerfile", "cluster.md": ROOT / "docs" / "cluster.md"}
LAUNCHED = [name for name, path in FILES.items() if "\nprovider:" in path.read_text()]  # by `ray up`
CLOUD = [name for name in LAUNCHED if "type: local" not in FILES[name].read_text()]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UV = "0.13.8"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
# The switches of `ray up` that a head's start is given besides its own text.
FROM_RAY_UP = {"RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": "i-1", "RAY_NODE_TYPE_NAME": "head"}


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = next(yaml.safe_load_all(FILES[name].read_text()))
    return content


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` does before it talks to anybody, and what its schema forgets."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    needed = {"aws": {"region"}, "gcp": {"region", "availability_zone", "project_id"}, "local": {"head_ip"}}
    assert config.get("cluster_name")
    assert needed[config["provider"]["type"]] <= set(config["provider"])
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_there_is_a_file_for_each_kind_of_cluster() -> None:
    assert LAUNCHED == ["cluster.yaml", "gcp.yaml", "on-prem.yaml"]
    assert set(FILES) == {*LAUNCHED, "rayjob.yaml"}
    assert CLOUD == ["cluster.yaml", "gcp.yaml"]


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_the_file_and_gives_the_head_no_trials(name: str) -> None:
    prepared = validated(load(name))
    if name in CLOUD:
        head = prepared["available_node_types"][prepared["head_node_type"]]
        assert (head["resources"], head["max_workers"]) == ({"CPU": 0, "GPU": 0}, 0)
    else:
        hosts = load(name)["provider"]["worker_ips"]
        assert prepared["available_node_types"]["local.cluster.node"]["min_workers"] == len(hosts) > 0


@pytest.mark.parametrize("name", LAUNCHED)
@pytest.mark.parametrize(
    "spoilt",
    [
        {"head_start_ray_command": ["ray start --head"]},
        {"setup_commands": "pip install ray"},
        {"max_workers": "four"},
        {"auth": {"ssh_usr": "ubuntu"}},
    ],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_a_broken_file_is_refused(name: str, spoilt: dict[str, Any]) -> None:
    import jsonschema

    with pytest.raises((jsonschema.ValidationError, TypeError)):
        validated({**load(name), **spoilt})


@pytest.mark.parametrize("name", CLOUD)
def test_workers_begin_at_none_and_spot_comes_first(name: str) -> None:
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for

    prepared = validated(load(name))
    head = prepared["head_node_type"]
    workers = {kind: node for kind, node in prepared["available_node_types"].items() if kind != head}
    assert all(node["min_workers"] == 0 < node["max_workers"] <= prepared["max_workers"] for node in workers.values())
    assert all(node["resources"]["GPU"] > 0 for node in workers.values())
    spot = [kind for kind, node in workers.items() if "spot" in str(node["node_config"]).lower()]
    assert len(spot) == 1 < len(workers)

    def scored(*arguments: Any) -> Any:
        return _default_utilization_scorer(*arguments, node_availability_summary=NodeAvailabilitySummary({}))

    trials = [{"CPU": 1, "GPU": 1}] * 3
    wanted, rest = get_nodes_for(prepared["available_node_types"], {}, head, 4, trials, scored)
    assert (dict(wanted), rest) == ({spot[0]: 3}, [])
    full = {spot[0]: workers[spot[0]]["max_workers"]}
    wanted, rest = get_nodes_for(prepared["available_node_types"], full, head, 4, trials, scored)
    assert (set(wanted), rest) == (set(workers) - set(spot), [])


def test_on_amazon_only_ssh_is_open_and_no_machine_has_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own code for AWS, against a simulated account."""
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its key pair there
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "simulated")
    with mock_aws():
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        iam = boto3.client("iam", "us-west-2")
        for role in ("orchestrator-head", "orchestrator-worker"):
            iam.create_instance_profile(InstanceProfileName=role)
        config = AWSNodeProvider.bootstrap_config(validated(load("cluster.yaml")))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        started = {}
        for kind, node in config["available_node_types"].items():
            (machine,) = provider.create_node(copy.deepcopy(node["node_config"]), {"kind": kind}, 1).values()
            started[kind] = machine
        groups = boto3.client("ec2", config["provider"]["region"]).describe_security_groups(
            GroupIds=sorted({group["GroupId"] for machine in started.values() for group in machine.security_groups})
        )["SecurityGroups"]
        hardware = {
            kind["InstanceType"]: kind
            for kind in boto3.client("ec2", "us-west-2").describe_instance_types(
                InstanceTypes=sorted({machine.instance_type for machine in started.values()})
            )["InstanceTypes"]
        }
    to_the_world = [
        rule for group in groups for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]
    ]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in to_the_world] == [("tcp", 22, 22)]
    assert {kind: machine.instance_lifecycle for kind, machine in started.items()}["gpu.spot"] == "spot"
    roles = {kind: machine.iam_instance_profile["Arn"].rpartition("/")[2] for kind, machine in started.items()}
    assert roles.pop("head") == "orchestrator-head"
    assert set(roles.values()) == {"orchestrator-worker"}
    for kind in roles:
        real = hardware[started[kind].instance_type]
        has = load("cluster.yaml")["available_node_types"][kind]["resources"]
        assert has["CPU"] == real["VCpuInfo"]["DefaultVCpus"]
        assert has["GPU"] == sum(gpu["Count"] for gpu in real["GpuInfo"]["Gpus"])


def test_the_roles_of_the_guide_are_ones_that_amazon_reads() -> None:
    import json

    import boto3
    from moto import mock_aws

    written = re.findall(r"--(?:assume-role-)?policy-document '([^']*)'", TEXTS["cluster.md"].read_text())
    trusted, *granted = map(json.loads, written)
    with mock_aws():
        iam = boto3.client("iam", "us-west-2", aws_access_key_id="simulated", aws_secret_access_key="simulated")
        iam.create_role(RoleName="role", AssumeRolePolicyDocument=json.dumps(trusted))
        for policy in granted:
            iam.put_role_policy(RoleName="role", PolicyName="policy", PolicyDocument=json.dumps(policy))
    storage, workers = (policy["Statement"] for policy in granted)
    assert all(resource.startswith("arn:aws:s3:::YOUR-BUCKET") for s in storage for resource in s["Resource"])
    assert {"ec2:RunInstances", "ec2:TerminateInstances"} <= set(workers[0]["Action"])
    assert (workers[1]["Action"], workers[1]["Resource"].rpartition("/")[2]) == ("iam:PassRole", "orchestrator-worker")


class Machine:
    """A home folder with stand-ins for `ray` and `orchestrator` that write down how they were called."""

    def __init__(self, home: Path) -> None:
        self.home = home
        programs = home / "programs"
        programs.mkdir()
        (programs / "ray").write_text(
            '#!/bin/bash\n{ printf "%s\\0" "$@"; } >>~/ray.calls; echo >>~/ray.calls\nenv -0 >~/ray.env\n'
        )
        (programs / "orchestrator").write_text('#!/bin/bash\necho "$$ $*" >>~/ui.calls\nexec sleep 600\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        (home / ".bashrc").write_text(f'export PATH="{programs}:$PATH"\n')
        (home / "ui.calls").touch()

    def run(self, command: str, **environment: str) -> None:
        """In the shell, and with the words around it, that Ray uses over SSH."""
        from ray.autoscaler._private.command_runner import _with_interactive
        from ray.autoscaler._private.util import with_envs

        (wrapped,) = with_envs([command], environment)
        clean = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        subprocess.run(" ".join(_with_interactive(wrapped)), shell=True, check=True, env=clean, timeout=PATIENCE)

    def calls(self) -> list[list[str]]:
        """What `ray` was called with, oldest first."""
        return [line.split("\0")[:-1] for line in (self.home / "ray.calls").read_text().splitlines()]

    def environment(self) -> dict[str, str]:
        """The environment of the last call of `ray`."""
        return dict(pair.split("=", 1) for pair in (self.home / "ray.env").read_text().split("\0") if pair)

    def pages(self) -> list[int]:
        """Processes that have to do with the tracking page's lock, or wait for it."""
        lock, found = f"{self.home}/tracking/ui.lock".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            found += [int(folder.name)] if lock in words else []
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for pid in [*(int(line.split()[0]) for line in (tmp_path / "ui.calls").read_text().splitlines()), *made.pages()]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def options_of_ray(words: list[str]) -> dict[str, Any]:
    """The options of a `ray ...` command, parsed by Ray itself."""
    from ray.scripts.scripts import cli

    parsed = cli.commands[words[0]].make_context(words[0], list(words[1:]))
    return dict(parsed.params)


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_head_starts_ray_with_a_token_and_one_page_on_loopback(name: str, machine: Machine) -> None:
    for _ in range(2):  # `ray up` again
        for command in load(name)["head_start_ray_commands"]:
            machine.run(command, **FROM_RAY_UP)
        deadline = time.monotonic() + PATIENCE
        while len(machine.pages()) != 1 or not (machine.home / "ui.calls").read_text():
            assert time.monotonic() < deadline, "not one tracking page"
            time.sleep(0.05)
    (page,) = (machine.home / "ui.calls").read_text().splitlines()
    assert page.split()[1:] == ["ui", "--port", "5000"]
    assert [call[0] for call in machine.calls()] == ["stop", "start", "stop", "start"]
    started = options_of_ray(machine.calls()[-1])
    assert started["head"]
    assert (started["num_cpus"], started["num_gpus"]) == (0, 0)
    assert (started["dashboard_host"], started["dashboard_port"]) == ("127.0.0.1", 8265)
    assert Path(started["autoscaling_config"]).name == "ray_bootstrap_config.yaml"
    environment = machine.environment()
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == environment["RAY_enable_autoscaler_v2"] == "0"
    assert int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) >= 3600
    assert environment["ORCHESTRATOR_STORAGE"].startswith({"cluster.yaml": "s3://", "gcp.yaml": "gs://"}.get(name, "/"))
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{machine.home}/tracking/mlflow.db"
    assert (machine.home / "tracking").is_dir()
    assert Path(environment["ORCHESTRATOR_DATA_DIR"]).is_dir()
    machine.run("source ~/orchestrator.env; ray status")
    for_shells = ("RAY_AUTH_MODE", "ORCHESTRATOR_STORAGE", "ORCHESTRATOR_DATA_DIR", "MLFLOW_TRACKING_URI")
    assert {key: machine.environment().get(key) for key in for_shells} == {key: environment[key] for key in for_shells}


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_worker_joins_with_a_token(name: str, machine: Machine) -> None:
    for command in load(name)["worker_start_ray_commands"]:
        machine.run(command, RAY_HEAD_IP="10.0.0.1")
    stopped, started = machine.calls()
    assert stopped == ["stop"]
    assert options_of_ray(started)["address"] == "10.0.0.1:6379"
    assert machine.environment()["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_command_is_one_that_bash_can_read(name: str) -> None:
    commands = [c for key, value in load(name).items() if key.endswith("_commands") for c in value]
    assert len(commands) >= 7
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not here")
def test_every_node_gets_the_package_what_installs_it_and_nothing_else(tmp_path: Path) -> None:
    config, project = load("cluster.yaml"), PROJECT["project"]
    excluded = [f"--exclude={pattern}" for pattern in config["rsync_exclude"]]
    mounts = {tmp_path / there[2:]: ROOT / here for there, here in config["file_mounts"].items() if here[0] != "~"}
    for there, here in mounts.items():
        there.parent.mkdir(parents=True, exist_ok=True)
        slash = "/" * here.is_dir()  # as Ray does
        subprocess.run(["rsync", "-az", *excluded, f"{here}{slash}", f"{there}{slash}"], check=True)
    home = tmp_path / "orchestrator"
    assert {path.name for path in home.iterdir()} == {
        "pyproject.toml", "orchestrator", "experiments", project["readme"], *project["license-files"]
    }  # fmt: skip
    (package,) = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for folder, pattern in ((package, "*.py"), ("experiments", "*.yaml"), (".", "pyproject.toml")):
        ours = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / folder).rglob(pattern)}
        theirs = {path.relative_to(home): path.read_bytes() for path in (home / folder).rglob(pattern)}
        assert theirs.items() <= ours.items()
        assert folder == "." or theirs == ours
    assert not list(home.rglob("__pycache__"))
    others = {there: here for there, here in config["file_mounts"].items() if here[0] == "~"}
    assert others == {"~/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_pinned_versions_are_installed(name: str) -> None:
    from packaging.specifiers import SpecifierSet

    config, project = load(name), PROJECT["project"]
    setup = "\n".join(config["setup_commands"])
    assert f"astral.sh/uv/{UV}/install.sh" in setup
    (sync,) = re.findall(r"cd ~/orchestrator && .* uv sync (.*)", setup.replace("~/.local/bin/uv", "uv"))
    words = shlex.split(sync)
    assert "--no-dev" in words
    extras = {words[i + 1] for i, word in enumerate(words) if word == "--extra"}
    wanted = {
        kind: {"postgres", "timm"} | own for kind, own in {"aws": {"aws"}, "gcp": {"gcp"}, "local": set()}.items()
    }
    assert extras == wanted[config["provider"]["type"]] <= set(project["optional-dependencies"])
    python = words[words.index("--python") + 1]
    assert re.fullmatch(r"3\.\d+\.\d+", python), "the same Python to the patch"
    assert python in SpecifierSet(project["requires-python"])
    assert PROJECT["tool"]["uv"]["python-downloads"] == "never"
    assert "UV_PYTHON_DOWNLOADS=automatic" in setup, "which that forbids otherwise"


def test_the_cloud_files_differ_from_one_another_only_where_the_clouds_do() -> None:
    aws, others = load("cluster.yaml"), [load(name) for name in LAUNCHED[1:]]
    for other in others:
        assert (other["file_mounts"], other["rsync_exclude"]) == (aws["file_mounts"], aws["rsync_exclude"])
        for key in ("worker_start_ray_commands", "head_start_ray_commands", "setup_commands"):
            changed = [
                (mine, theirs)
                for mine, theirs in zip(
                    "\n".join(aws[key]).splitlines(), "\n".join(other[key]).splitlines(), strict=True
                )
                if mine != theirs and not mine.lstrip().startswith("#")
            ]
            assert all("ORCHESTRATOR_STORAGE" in mine or "--extra" in mine for mine, _ in changed)


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_line_says_what_it_is_for(name: str) -> None:
    lines = FILES[name].read_text().splitlines()
    assert lines[0].startswith("# A cluster")
    for above, line in itertools.pairwise(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            assert above.lstrip().startswith("#"), f"no comment above: {line}"


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_holds_a_secret(name: str) -> None:
    text = TEXTS[name].read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{64}\b|gh[pousr]_\w{20}", text)
    assert not re.search(r"://(?!USER:PASSWORD@)[^\s/:]+:[^\s/@]+@", text), "a URI with a password"
    assert not re.search(r"(?i)export \w*(token|secret|password|access_key)\w*=(?!\$\()", text)


@pytest.mark.parametrize("name", TEXTS)
def test_every_ray_command_it_names_is_one_of_ray(name: str) -> None:
    """The commands that a reader will type: at the start of a line, in a comment or indented, or in backquotes."""
    text = TEXTS[name].read_text()
    typed = re.findall(r"(?m)^(?:#? {4})?(?:RAY_\w+=0 )?ray ((?:[\w-]+)(?: [^#|>\n&;]*)?)", text)
    typed += re.findall(r"`ray ([a-z][^`]*)`", text)
    assert typed or name in ("rayjob.yaml", "Dockerfile")
    for command in typed:
        words = shlex.split(command)
        if len(words) > 1:
            options_of_ray(words)
