"""A stand-in for NVIDIA's MPS: a program of its name with real processes, sockets and folders, and no GPU."""

import sys
from pathlib import Path

from orchestrator.sharing import mps

# What the program promises: `-d` returns when its daemon listens; otherwise commands come on stdin and answers go out.
# A daemon has a server of its own, in another process. How this one ails, the variable FAKE_MPS says.
FAKE = r"""#!{python}
import os, signal, socket, subprocess, sys, time
from pathlib import Path

ails, pipes = os.environ.get("FAKE_MPS", ""), Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "{usual}"))
where = str(pipes / "control")

def serve():
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ails == "stubborn" else signal.SIG_DFL)
    server = subprocess.Popen([sys.executable, sys.argv[0], "server"])
    (pipes / "nvidia-cuda-mps-control.pid").write_text(str(os.getpid()))
    (Path(os.environ["CUDA_MPS_LOG_DIRECTORY"]) / "visible").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    while True:
        client, _ = listening.accept()
        command = client.recv(1024).decode().strip()
        if command == "quit" and ails != "stubborn":
            server.kill()
            os.unlink(where)
            client.close()
            os._exit(0)
        client.sendall(f"{{server.pid}}\n".encode() if command == "get_server_list" else b"")
        client.close()

if sys.argv[1:] == ["server"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ails == "stubborn" else signal.SIG_DFL)
    time.sleep(3600)
elif sys.argv[1:] == ["-d"]:
    if ails == "refuses":
        sys.exit("cannot start: no GPU is here")
    if ails == "hangs":
        time.sleep(3600)
    pipes.mkdir(exist_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(where)
    listening.listen()
    if os.fork() == 0:
        os.setsid()
        serve()
else:
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.connect(where)
    except OSError:
        sys.exit("Cannot find MPS control daemon process")
    asked.sendall(sys.stdin.readline().encode())
    while answer := asked.recv(1024):
        sys.stdout.write(answer.decode())
"""


def make_program(folder: Path, usual: Path) -> Path:
    """The program in the new ``folder``; ``usual`` is where its daemon listens that was told nothing else."""
    folder.mkdir()
    file = folder / mps.PROGRAM
    file.write_text(FAKE.format(python=sys.executable, usual=usual))
    file.chmod(0o755)
    return file
