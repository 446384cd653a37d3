"""The Kubernetes file and its image: KubeRay's documented fields, and what the file promises.

Ray ships no schema of KubeRay's, so the field names are held against the ones that its reference (version 1.5 of
`ray.io/v1`) documents, and what goes to `ray start` against Ray itself.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "clusters" / "rayjob.yaml"
JOB, POLICY = yaml.safe_load_all(FILE.read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
HEAD, WORKERS = CLUSTER["headGroupSpec"], CLUSTER["workerGroupSpecs"]
PODS = [JOB["spec"]["submitterPodTemplate"], HEAD["template"], *(group["template"] for group in WORKERS)]
CONTAINERS = [container for pod in PODS for container in pod["spec"]["containers"]]
IMAGE = (ROOT / "clusters" / "Dockerfile").read_text()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
FIELDS = {
    "RayJob": "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector "
    "submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources "
    "entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend",
    "RayCluster": "authOptions suspend autoscalerOptions headServiceAnnotations enableInTreeAutoscaling headGroupSpec "
    "rayVersion workerGroupSpecs",
    "head": "template headService enableIngress rayStartParams serviceType",
    "worker": "groupName replicas minReplicas maxReplicas rayStartParams template scaleStrategy numOfHosts",
    "autoscaler": "resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode env envFrom "
    "volumeMounts",
    "pod": "restartPolicy automountServiceAccountToken securityContext containers volumes tolerations "
    "terminationGracePeriodSeconds",
    "container": "name image securityContext ports env resources volumeMounts",
}


def variables(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in container.get("env", [])}


def test_the_fields_are_those_that_kuberay_documents() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert (POLICY["apiVersion"], POLICY["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    found = [
        ("RayJob", JOB["spec"]),
        ("RayCluster", CLUSTER),
        ("autoscaler", CLUSTER["autoscalerOptions"]),
        ("head", HEAD),
        *(("worker", group) for group in WORKERS),
        *(("pod", pod["spec"]) for pod in PODS),
        *(("container", container) for container in CONTAINERS),
    ]
    for kind, content in found:
        assert set(content) <= set(FIELDS[kind].split()), kind
    assert all({"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"} <= set(g) for g in WORKERS)
    for name in (JOB["metadata"]["name"], POLICY["metadata"]["name"]):
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,46}", name)  # KubeRay adds to it


def test_ray_start_takes_the_parameters() -> None:
    from ray.scripts.scripts import cli

    for words, group in [(["--head"], HEAD), *((["--address=head:6379"], group) for group in WORKERS)]:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes texts only"
        given = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        cli.commands["start"].make_context("start", [*words, *given])


def test_the_head_takes_no_trials_and_workers_begin_at_none() -> None:
    assert HEAD["rayStartParams"]["num-cpus"] == HEAD["rayStartParams"]["num-gpus"] == "0"
    assert CLUSTER["enableInTreeAutoscaling"] is True
    for group in WORKERS:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        assert int(container["resources"]["limits"]["nvidia.com/gpu"]) == 1
    assert "nvidia.com/gpu" not in HEAD["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert JOB["spec"]["shutdownAfterJobFinishes"] is True
    assert 0 < JOB["spec"]["activeDeadlineSeconds"] <= 7 * 86400


def test_only_who_has_the_token_gets_in_and_only_from_inside() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert HEAD["serviceType"] == "ClusterIP"
    assert not HEAD.get("enableIngress")
    selected = POLICY["spec"]["podSelector"]["matchLabels"].items()
    assert POLICY["spec"]["policyTypes"] == ["Ingress"]
    for pod in PODS[1:]:
        assert selected <= pod["metadata"]["labels"].items()
    among_themselves, operator = POLICY["spec"]["ingress"]
    (inside,) = among_themselves["from"]
    assert all(inside["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items() for pod in PODS)
    assert [port["port"] for port in operator["ports"]] == [8265]
    for rule in POLICY["spec"]["ingress"]:
        assert rule["from"]
        assert all(peer["podSelector"]["matchLabels"] and "ipBlock" not in peer for peer in rule["from"])


def test_nothing_runs_as_root_or_holds_more_rights_than_it_needs() -> None:
    for pod in PODS:
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 1000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(set(volume) == {"name", "emptyDir"} for volume in pod["spec"].get("volumes", []))
        if pod is not HEAD["template"]:  # the autoscaler beside the head talks to Kubernetes
            assert pod["spec"]["automountServiceAccountToken"] is False
    for container in [*CONTAINERS, CLUSTER["autoscalerOptions"]]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"]


def test_secrets_come_from_secrets_and_the_store_outlives_the_pods() -> None:
    for container in CONTAINERS:
        for name, variable in variables(container).items():
            if re.search("KEY|SECRET|TOKEN|PASSWORD|TRACKING_URI", name):
                assert set(variable) == {"name", "valueFrom"}
                assert set(variable["valueFrom"]["secretKeyRef"]) == {"name", "key"}
    (head,) = HEAD["template"]["spec"]["containers"]
    env = variables(head)
    assert env["MLFLOW_TRACKING_URI"]
    assert re.match(r"s3://|gs://", env["ORCHESTRATOR_STORAGE"]["value"])
    assert int(env["RAY_JOB_STOP_WAIT_TIME_S"]["value"]) >= 3600
    assert env["ORCHESTRATOR_DATA_DIR"]["value"] in {mount["mountPath"] for mount in head["volumeMounts"]}
    for group in WORKERS:
        (worker,) = group["template"]["spec"]["containers"]
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(variables(worker)), "workers write the storage too"
    made = FILE.read_text().partition("apiVersion")[0]
    for secret in re.findall(r"secretKeyRef: {name: ([\w-]+), key: ([\w-]+)}", FILE.read_text()):
        assert re.search(rf"secret generic {secret[0]} .*--from-literal={secret[1]}=", made)


def test_the_object_store_has_shared_memory() -> None:
    for pod in PODS[1:]:
        (container,) = pod["spec"]["containers"]
        (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
        (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == mount["name"]]
        assert volume["emptyDir"]["medium"] == "Memory"


def test_the_entrypoint_is_a_command_of_ours_with_an_experiment_of_the_image() -> None:
    from orchestrator.cli.run import command

    words = shlex.split(JOB["spec"]["entrypoint"])
    assert words[:3] == ["exec", "orchestrator", "run"], "exec: Ray's stop must reach the driver itself"
    parsed = command.make_context("run", words[3:]).params
    assert parsed["address"] == "auto"
    (workdir,) = re.findall(r"^WORKDIR (\S+)$", IMAGE, re.MULTILINE)
    assert (ROOT / parsed["experiment"].relative_to(workdir)).is_file()


def test_the_job_is_listed_as_one_of_ours() -> None:
    from orchestrator.cluster.jobs import Job
    from orchestrator.experiment.reader import read_file

    job = Job("x", "running", metadata=JOB["spec"]["metadata"])
    assert all(isinstance(value, str) for value in job.metadata.values()), "Ray takes texts only"
    assert job.is_ours
    experiment = read_file(ROOT / "experiments" / Path(shlex.split(JOB["spec"]["entrypoint"])[3]).name)
    told = job.to_json()
    assert (told["experiment"], told["trials"]) == (experiment.name, len(experiment.variants) * len(experiment.seeds))


def instructions() -> Iterator[tuple[str, str]]:
    """Of the Dockerfile, with continued lines joined."""
    lines = [line for line in IMAGE.splitlines() if line and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


def test_the_image_carries_what_pyproject_pins() -> None:
    import ray
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "ray"]
    assert CLUSTER["rayVersion"] == ray.__version__
    assert CLUSTER["rayVersion"] in pinned.specifier
    (image,) = {container["image"] for container in CONTAINERS}
    tag = f"orchestrator:{project['version']}-ray{CLUSTER['rayVersion']}"
    assert image.endswith(f"/{tag}")
    assert set(re.findall(r"orchestrator:\S+-ray\S+", IMAGE)) == {tag}
    copied = {word for kind, rest in instructions() if kind == "COPY" for word in rest.split()[:-1]}
    assert copied == {"pyproject.toml", project["readme"], *project["license-files"], "orchestrator", "experiments"}
    assert all((ROOT / name).exists() for name in copied)
    ran = " ".join(rest for kind, rest in instructions() if kind == "RUN")
    (sync,) = re.findall(r"uv sync (.*?)(?= useradd)", ran)
    extras = re.findall(r"--extra (\w+)", sync)
    assert "--no-dev" in sync
    assert set(extras) == set(project["optional-dependencies"]) - {"notebook"}  # nobody sits at a cluster's nodes
    assert re.search(r"uv==0\.13\.8\b", ran), "as in the other cluster files"


def test_the_image_does_not_run_as_root() -> None:
    kinds = [kind for kind, _ in instructions()]
    users = [rest for kind, rest in instructions() if kind == "USER"]
    assert users == ["1000"]
    assert "RUN" not in kinds[kinds.index("USER") :]


@pytest.mark.parametrize("rest", [rest for kind, rest in instructions() if kind == "RUN"], ids=lambda rest: rest[:20])
def test_the_shell_commands_of_the_image_can_be_read(rest: str) -> None:
    import subprocess

    subprocess.run(["sh", "-n", "-c", rest], check=True)
