"""Run the checks on the head of a cluster, as a job through its Jobs API, and fetch the findings."""

import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.checks.check import HERE, Finding, Level
from orchestrator.cluster.address import Connection, connect, jobs_address
from orchestrator.cluster.jobs import Jobs
from orchestrator.errors import OrchestratorError
from orchestrator.text import first_line, last_line

HEAD = "head"
ENTRYPOINT = "orchestrator doctor --address auto --json"
START = '{\n  "checks"'  # of the document in the job's log
FORWARD = "ray attach cluster.yaml -p 8265    (keep it open; with the cluster's token, see RAY_AUTH_TOKEN)"
POLL = 1.0  # seconds between two requests
TRIES = 5  # to take the job off the cluster's list


def run_on_head(address: str, patience: float) -> Iterator[Finding]:
    """Findings of the cluster whose Jobs API is at ``address`` (http://...), from its own head.

    ``patience`` is in seconds, for each round of tasks on the nodes; the job gets five times as long.
    """
    job = f"doctor-{uuid.uuid4().hex[:8]}"
    try:
        connection = connect(jobs_address(address))
        yield Finding(
            HERE,
            "cluster",
            Level.OK,
            f"{connection.address} answers" + (", with a token" if connection.headers else ""),
        )
        jobs = Jobs(connection)
        try:
            with tempfile.TemporaryDirectory() as empty:
                jobs.submit(job, f"{ENTRYPOINT} --patience {patience:g}", {}, Path(empty))
            log = _log_of_ended(jobs, job, time.monotonic() + 5 * patience)
        finally:
            _remove(connection, job)
    except OrchestratorError as problem:
        yield Finding(HERE, "cluster", Level.FAILURE, first_line(problem), FORWARD)
        return
    if START not in log:
        value = f"did not finish on the head: {last_line(log, 'it printed nothing')}"
        yield Finding(HEAD, "doctor", Level.FAILURE, value, f"on the head: {ENTRYPOINT}")
        return
    document: dict[str, Any] = json.JSONDecoder().raw_decode(log, log.index(START))[0]
    for check in document["checks"]:
        node = HEAD if check["node"] == HERE else str(check["node"])
        yield Finding(node, check["name"], Level(check["status"]), check["value"], check["advice"])


def _log_of_ended(jobs: Jobs, job: str, deadline: float) -> str:
    """The log of ``job`` when it has ended; at the ``deadline`` it is stopped."""
    while time.monotonic() < deadline:
        found = jobs.find(job)
        if found is not None and found.has_ended:
            break
        time.sleep(POLL)
    else:
        jobs.stop(job)
    return jobs.log(job)


def _remove(connection: Connection, job: str) -> None:
    """Remove the job from the cluster's list, where `orchestrator status` would show it; Ray refuses while it runs.

    Ray may write the job's end once more after its removal, so it is checked again.
    """
    import requests

    url, headers = f"{connection.address}/api/jobs/{job}", dict(connection.headers)
    with requests.Session() as session, suppress(requests.RequestException):
        session.trust_env = False
        for _ in range(TRIES):
            session.delete(url, headers=headers, timeout=10)
            time.sleep(POLL)
            if session.get(url, headers=headers, timeout=10).status_code == 404:
                return
