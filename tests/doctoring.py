"""Running the doctor in a home folder of its own, and reading what it says."""

import json
import os
import shlex
import subprocess
from pathlib import Path

from driving import ORCHESTRATOR
from patience import PATIENCE

TOKEN = "0123456789abcdef" * 4


def doctor(
    home: Path, *arguments: str, limit: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``orchestrator doctor``, in a home folder of its own, with ``limit`` open files."""
    command = [ORCHESTRATOR, "doctor", *arguments]
    if limit is not None:
        command = ["bash", "-c", f"ulimit -n {limit}; exec {shlex.join(command)}"]
    return subprocess.run(
        command,
        cwd=home,
        env={**os.environ, "HOME": str(home), "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
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
