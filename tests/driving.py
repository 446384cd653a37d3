"""Commands that run on while a test looks at them: begun, watched, killed; nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE
from ports import free_port

from orchestrator.workflow.verify import kill_driver

ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and file systems of their own need root")
QUIET_ENVIRONMENT = {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}

EXPERIMENT = """
# a small experiment for the tests
name: small
variants: ["{networks}:Tiny", "{networks}:{second}"]
seeds: [0, 1]
target_accuracy: 0.5
dataset: {{name: "{data}"}}
trainer: {{epochs: 3, batch_size: 32, optimizer: {{lr: 0.3}}}}
"""


def orchestrator(
    *arguments: str, cwd: Path, timeout: float = PATIENCE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command, run to its end in ``cwd``."""
    return subprocess.run(
        [ORCHESTRATOR, *arguments],
        cwd=cwd,
        env={**QUIET_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def driver(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """``orchestrator`` in ``folder``, printing into ``output.txt`` there; what still runs in the end is killed."""
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [ORCHESTRATOR, *arguments], cwd=folder, stdout=output, stderr=output, text=True, env=environment
        )
    try:
        yield process
    finally:
        kill_driver(process)


def wait_for(folder: Path, process: "subprocess.Popen[str]", *words: str) -> str:
    """What a driver has printed, as soon as all of ``words`` are in it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        text = (folder / "output.txt").read_text()
        if all(word in text for word in words):
            return text
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


@contextmanager
def page(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """MLflow's page by ``orchestrator ui``: its address, once it answers, and its process; ended by Ctrl-C."""
    port = free_port()
    with (folder / "ui.txt").open("w") as output:
        process = subprocess.Popen(
            [ORCHESTRATOR, "ui", "--port", str(port)],
            cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "ui.txt").read_text()
                assert time.monotonic() < deadline, (folder / "ui.txt").read_text()
                time.sleep(0.3)
        yield url, psutil.Process(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=PATIENCE)
