"""A Ray cluster on simulated hosts, brought up with clusters/on-prem.yaml as its user would bring it up."""

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import yaml
from patience import PATIENCE

from lab.lab import ADDRESSES, CHECKOUT, CLIENT, HOME, Lab, LabError

HEAD = "h1"
WORKERS = ("h2", "h3")
FILE = f"{HOME}/on-prem.yaml"  # on the client
STORAGE = "/mnt/nfs/storage"
TOKEN = f"{HOME}/.ray/auth_token"
AS_USER = "export RAY_AUTH_MODE=token; "  # in every shell that talks to the cluster
SMALL = "--object-store-memory=200000000"  # bytes; Ray would take 30 % of the machine for each host
TRAINS = ("ray::ResourceTrainable", "ray::TrialWorker")  # what Ray calls a process that trains
EVENT = "@orchestrator-event "  # at the start of a line of a job's log


class Cluster:
    """The cluster, from its user's side: ``c`` is their machine, ``h1`` the head."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._attached: subprocess.Popen[bytes] | None = None

    def up(self) -> str:
        """``ray up``; returns what it printed, when all workers have joined."""
        self.lab.run(CLIENT, "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token")
        self.lab.path(CLIENT, FILE).write_text(yaml.safe_dump(self.configuration()))
        said = self.on_client(f"cd {CHECKOUT} && ray up -y {FILE}").stdout
        self.wait("both workers to join", lambda: len(self.nodes()) == 1 + len(WORKERS))
        return said

    def configuration(self) -> dict[str, Any]:
        """clusters/on-prem.yaml with our hosts; nothing is installed, since the checkout's environment is there."""
        config = yaml.safe_load((CHECKOUT / "clusters/on-prem.yaml").read_text())
        config["provider"] |= {"head_ip": ADDRESSES[HEAD], "worker_ips": [ADDRESSES[name] for name in WORKERS]}
        config["auth"] |= {"ssh_user": "root", "ssh_private_key": "~/.ssh/id_ed25519"}
        environment = f"mkdir -p ~/orchestrator && ln -sfn {shlex.quote(sys.prefix)} ~/orchestrator/.venv"
        paths = [command for command in config["setup_commands"] if ".bashrc" in command]
        assert len(paths) == 1, config["setup_commands"]
        config["setup_commands"] = [environment, *paths]
        head, worker = config["head_start_ray_commands"], config["worker_start_ray_commands"]
        head[-1] = replaced(head[-1], "/mnt/shared/orchestrator", STORAGE)
        head[-1] = replaced(head[-1], "ray start --head", f"ray start --head {SMALL}")
        worker[-1] = replaced(worker[-1], "ray start", f"ray start {SMALL} --num-cpus=1")
        return config

    def join(self, host: str) -> None:
        """Let a host that the file does not name join by hand, with the worker's own start command."""
        self.give_token(host)
        start = self.configuration()["worker_start_ray_commands"][-1]
        self.lab.run(host, f"export RAY_HEAD_IP={ADDRESSES[HEAD]}; {start}")

    def give_token(self, host: str) -> None:
        """Put the cluster's token where Ray looks for it."""
        token = self.lab.path(host, TOKEN)
        token.parent.mkdir(mode=0o700, exist_ok=True)
        token.touch(mode=0o600)
        token.write_text(self.lab.path(CLIENT, TOKEN).read_text())

    def attach(self) -> None:
        """The one command by which a user sees both pages, left open."""
        command = self.lab.command(CLIENT, f"{AS_USER} cd {CHECKOUT} && ray attach {FILE} -p 8265 -p 5000")
        with (self.lab.folder / "attached.log").open("wb") as log:
            self._attached = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        knock = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8265/api/version"
        self.wait("the forwarded port", lambda: self.lab.run(CLIENT, knock, check=False).stdout == "401")

    def down(self) -> str:
        """``ray down``; returns what it printed."""
        if self._attached is not None:
            assert self._attached.stdin is not None
            self._attached.stdin.close()
            self._attached.kill()
            self._attached.wait()
            self._attached = None
        return self.on_client(f"cd {CHECKOUT} && ray down -y {FILE}").stdout

    def on_client(self, command: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        """Run the shell ``command`` as the cluster's user."""
        return self.lab.run(CLIENT, AS_USER + command, **how)

    def on_head(self, command: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        """Run the shell ``command`` on the head with the environment that jobs have."""
        return self.lab.run(HEAD, f". ~/orchestrator.env; {command}", **how)

    def nodes(self) -> dict[str, str]:
        """The living nodes, by address; the values are what they have."""
        ask = "import json, ray; ray.init('auto', log_to_driver=False); print(json.dumps(ray.nodes()))"
        found = json.loads(self.on_head(f"python -c {shlex.quote(ask)}").stdout.splitlines()[-1])
        return {node["NodeManagerAddress"]: node["Resources"] for node in found if node["Alive"]}

    def submit(self, folder: str, *words: str) -> str:
        """Submit small.yaml in the client's ``folder`` and do not wait; returns the job's name."""
        said = self.on_client(
            f"cd {folder} && orchestrator submit small.yaml --no-wait --json {shlex.join(words)}", seconds=120
        )
        return str(json.loads(said.stdout)["job"])

    def state(self, job: str) -> dict[str, Any]:
        """What ``orchestrator status`` says of the job."""
        found: dict[str, Any] = json.loads(self.on_client(f"orchestrator status {job} --json").stdout)
        return found

    def log(self, job: str) -> list[str]:
        """The lines that the job has printed so far, read where Ray keeps them: nothing is started for it."""
        files = list(self.lab.path(HEAD, "/tmp/ray").glob(f"session_2*/logs/job-driver-{job}.log"))
        return files[0].read_text(errors="replace").splitlines() if files else []

    def epochs(self, job: str) -> dict[str, list[int]]:
        """The epochs that the job has told, by trial, in the order in which it did."""
        told: dict[str, list[int]] = {}
        for line in self.log(job):
            if line.startswith(EVENT) and line.endswith("}"):
                event = json.loads(line.removeprefix(EVENT))
                if event["event"] == "record":
                    told.setdefault(event["trial"], []).append(event["record"]["epoch"])
        return told

    def training(self, host: str) -> list[int]:
        """The processes on the host that train."""
        return [number for number, words in self.lab.processes(host).items() if words.startswith(TRAINS)]

    def ray_processes(self, host: str) -> list[str]:
        """What of Ray runs on the host."""
        marks = ("ray::", "ray-", "/ray/", "raylet", "gcs_server", "ray.util")
        return [words for words in self.lab.processes(host).values() if any(mark in words for mark in marks)]

    def end(self, job: str) -> str:
        """Wait for the job's end; returns what it is then: complete, failed or stopped."""
        return str(self.wait(f"the end of {job}", lambda: self._ended(job), job))

    def _ended(self, job: str) -> str:
        status = str(self.state(job)["status"])
        return "" if status in ("pending", "running") else status

    def has_page(self) -> bool:
        """Whether the tracking page runs on the head."""
        return any("orchestrator ui" in words or "mlflow" in words for words in self.lab.processes(HEAD).values())

    def wait(self, what: str, condition: Callable[[], Any], job: str | None = None) -> Any:
        """Wait until ``condition`` holds and return its value; with ``job``, its end is the end of waiting."""
        deadline, look = time.monotonic() + PATIENCE, time.monotonic() + 10
        while not (value := condition()):
            if job is not None and time.monotonic() > look:
                look = time.monotonic() + 10  # it starts a Python: not at every turn
                if (status := self._ended(job)) and not condition():
                    raise LabError(f"waiting for {what}, but the job is {status}\n{self.evidence(job)}")
            if time.monotonic() > deadline:
                raise LabError(f"waited {PATIENCE} s for {what}\n{self.evidence(job)}")
            time.sleep(0.5)
        return value

    def evidence(self, job: str | None = None) -> str:
        """What may explain a failure: the job's last words, Ray's processes, the autoscaler's last words."""
        found = [line for line in self.log(job)[-400:] if not line.startswith(EVENT)][-30:] if job else []
        for host in self.lab.pids:
            with contextlib.suppress(LabError, OSError, subprocess.SubprocessError):
                found.append(f"{host}: " + ", ".join(words[:60] for words in self.ray_processes(host)))
            for log in self.lab.path(host, "/tmp/ray").glob("session_2*/logs/*"):
                if log.name in ("raylet.out", "raylet.err", "monitor.out", "monitor.err"):
                    lines = log.read_text(errors="replace").splitlines()
                    found += [f"{host}, {log.name}:", *(line[:300] for line in lines if "state-dump" not in line)][-15:]
        return "\n".join(found)


def replaced(text: str, old: str, new: str) -> str:
    """``text`` with ``old`` replaced, which must stand there once: a change of the file is to be noticed."""
    assert text.count(old) == 1, (old, text)
    return text.replace(old, new)
