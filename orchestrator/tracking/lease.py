"""Correct run statuses: a driver keeps a lease on its launch, and commands close the runs of an expired one."""

import threading
import time
from typing import TYPE_CHECKING

from orchestrator.records import Status
from orchestrator.tracking.runs import end
from orchestrator.tracking.tags import KIND, LEASE, PARENT, REASON, STATUS

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE_LENGTH = 120.0  # seconds; a driver that is silent for so long is lost
RENEWAL = 30.0  # seconds between two renewals
RETRY = 2.0  # seconds to the next attempt if the store did not answer: the lease may have expired by then
REASON_LOST = "its driver was lost; `orchestrator resume` continues"


def lease_end() -> str:
    """The value of the lease tag, renewed now."""
    return f"{time.time() + LEASE_LENGTH:.0f}"


class Heartbeat(threading.Thread):
    """Signals, from its own thread, that the launch's driver is alive, however busy it is."""

    def __init__(self, client: "MlflowClient", parent_run_id: str) -> None:
        super().__init__(name="lease", daemon=True)
        self.client = client
        self.parent_run_id = parent_run_id
        self._ended = threading.Event()

    def run(self) -> None:
        """Renew until :meth:`end`; retries soon if the store does not answer."""
        pause = RENEWAL
        while not self._ended.wait(pause):
            try:
                self.client.set_tag(self.parent_run_id, LEASE, lease_end())
                pause = RENEWAL
            except Exception:  # the boundary to another program; the sink reports it
                pause = min(RETRY, RENEWAL)

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()


def close_abandoned(client: "MlflowClient", experiment: str, now: float | None = None) -> list[str]:
    """Mark as killed every running run of ``experiment`` whose driver is lost; returns the launches' run ids."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    now = time.time() if now is None else now
    running = "attributes.status = 'RUNNING'"
    closed = []
    for launch in client.search_runs([found.experiment_id], f"{running} and tags.{KIND} = 'launch'"):
        if float(launch.data.tags.get(LEASE, 0)) > now:
            continue
        parent = str(launch.info.run_id)
        children = client.search_runs([found.experiment_id], f"{running} and tags.`{PARENT}` = '{parent}'")
        for run in [*children, launch]:
            client.set_tag(run.info.run_id, STATUS, str(Status.INTERRUPTED))
            client.set_tag(run.info.run_id, REASON, REASON_LOST)
            end(client, run, "KILLED")
        closed.append(parent)
    return closed
