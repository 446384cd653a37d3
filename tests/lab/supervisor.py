"""PID 1 of a lab: it holds the switch, starts and kills hosts when asked, and ends them all when its parent is gone.

Everything runs in its PID and mount namespaces, so however it ends, the kernel leaves no process and no mount behind.
Its standard input is a pipe that its parent never writes to: the end of it is the parent's end, by kill -9 too.
"""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60  # seconds for one host to come up


class Supervisor:
    def __init__(self, spec: dict) -> None:
        self.spec = spec
        self.folder = Path(spec["folder"])
        self.hosts: dict[str, tuple[subprocess.Popen, int]] = {}  # who holds it; its PID 1 as seen outside
        ip("link add name switch type bridge")
        ip("link set switch up")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / "control"))
        self.listener.listen()

    def serve(self) -> None:
        """Answer requests until the parent is gone, or one of them is ``down``."""
        while True:
            readable, _, _ = select.select([sys.stdin, self.listener], [], [])
            if sys.stdin in readable:
                return
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rw") as stream:
                request = json.loads(stream.readline())
                if request["do"] == "down":
                    return
                try:
                    answer = {"value": getattr(self, f"do_{request['do']}")(request["host"])}
                except (OSError, subprocess.SubprocessError, KeyError, ValueError) as problem:
                    answer = {"error": f"{request['do']} {request['host']}: {type(problem).__name__}: {problem}"}
                try:
                    stream.write(json.dumps(answer) + "\n")
                    stream.flush()
                except OSError:
                    pass  # who asked did not wait for the answer

    def do_start(self, name: str) -> int:
        """Returns the host's PID 1 as seen outside."""
        if name in self.hosts:
            raise ValueError("it is running")
        (self.folder / name).mkdir(exist_ok=True)
        host = {**self.spec, "name": name, "address": self.spec["addresses"][name]}
        spaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        command = ["unshare", *spaces, sys.executable, "-I", str(Path(__file__).with_name("host.py")), json.dumps(host)]
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, start_new_session=True
            )
        try:
            number = int(self.line(process, name))
            ip(f"link add name v{name} type veth peer name eth0 netns {process.pid}")
            ip(f"link set v{name} master switch up")
            process.stdin.write(b"go\n")
            if self.line(process, name) != "ready":
                raise ValueError("it is not ready")
        except BaseException:
            process.kill()
            raise
        self.hosts[name] = (process, number)
        return number

    def line(self, process: subprocess.Popen, name: str) -> str:
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
        text = process.stdout.readline().decode().strip() if readable else ""
        if not text:
            raise ValueError("it did not come up:\n" + (self.folder / f"{name}.log").read_text()[-2000:])
        return text

    def do_kill(self, name: str) -> None:
        """kill -9 of everything on the host; returns when the last process is gone."""
        process, number = self.hosts.pop(name)
        process.kill()  # its child, the host's PID 1, is killed with it, and with that one all others
        process.wait()
        process.stdin.close()
        process.stdout.close()
        deadline = time.monotonic() + 20
        while Path(f"/proc/{number}").exists():
            os.waitpid(-1, os.WNOHANG)
            if time.monotonic() > deadline:
                raise ValueError(f"process {number} does not end")
            time.sleep(0.02)

    def do_cut(self, name: str) -> None:
        ip(f"link set v{name} down")

    def do_heal(self, name: str) -> None:
        ip(f"link set v{name} up")

    def do_list(self, _: str) -> dict[str, int]:
        return {name: number for name, (_, number) in self.hosts.items()}


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def main() -> None:
    spec = json.loads(sys.argv[1])
    folder = Path(spec["folder"])
    try:
        supervisor = Supervisor(spec)
        print("ready", flush=True)
        supervisor.serve()
        for name in list(supervisor.hosts):
            supervisor.do_kill(name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
