"""Run the doctor on the cluster's head through the Jobs API, and fetch its findings."""

import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.cluster.address import Connection, connect, jobs_address
from orchestrator.cluster.doctor.finding import HERE, Finding, Level
from orchestrator.cluster.jobs import Jobs
from orchestrator.errors import OrchestratorError

HEAD = "head"
ENTRYPOINT = "orchestrator doctor --address auto --json"
START = '{\n  "checks"'  # of the document in the job's log
PAUSE = 1.0  # seconds between two checks of the job
TRIES = 5  # to take it off the list


def ask_head(address: str, patience: float) -> Iterator[Finding]:
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
            said = _wait(jobs, job, time.monotonic() + 5 * patience)
        finally:
            _forget(connection, job)
    except OrchestratorError as problem:
        advice = "ray attach cluster.yaml -p 8265    (keep it open; with the cluster's token, see RAY_AUTH_TOKEN)"
        yield Finding(HERE, "cluster", Level.FAILURE, str(problem).splitlines()[0], advice)
        return
    if START not in said:
        last = (said.strip().splitlines() or ["it printed nothing"])[-1]
        advice = f"on the head: {ENTRYPOINT}"
        yield Finding(HEAD, "doctor", Level.FAILURE, f"did not finish on the head: {last}", advice)
        return
    document: dict[str, Any] = json.JSONDecoder().raw_decode(said, said.index(START))[0]
    for check in document["checks"]:
        node = HEAD if check["node"] == HERE else str(check["node"])
        yield Finding(node, check["name"], Level(check["status"]), check["value"], check["advice"])


def _wait(jobs: Jobs, job: str, deadline: float) -> str:
    """The log of ``job`` when it has ended, or when time is up."""
    while time.monotonic() < deadline:
        found = jobs.find(job)
        if found is not None and found.has_ended:
            break
        time.sleep(PAUSE)
    else:
        jobs.stop(job)
    return jobs.log(job)


def _forget(connection: Connection, job: str) -> None:
    """Remove the job from the cluster's list, where `orchestrator status` would show it; Ray refuses while it runs.

    Ray may write the job's end once more after its removal, so it is checked again.
    """
    import requests

    place, headers = f"{connection.address}/api/jobs/{job}", dict(connection.headers)
    with requests.Session() as session, suppress(requests.RequestException):
        session.trust_env = False
        for _ in range(TRIES):
            session.delete(place, headers=headers, timeout=10)
            time.sleep(PAUSE)
            if session.get(place, headers=headers, timeout=10).status_code == 404:
                return
