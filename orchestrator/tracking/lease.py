"""True statuses: a driver keeps a lease on its launch, and whoever meets an expired one closes what it left open."""

import threading
import time
from typing import TYPE_CHECKING

from orchestrator.records import Status
from orchestrator.tracking.runs import KIND, LEASE, PARENT, REASON, STATUS, lease_end

if TYPE_CHECKING:
    from mlflow import MlflowClient

RENEWAL = 30.0  # seconds between two renewals
RETRY = 2.0  # seconds to the next try when the store did not answer: it may come back with the lease expired
REASON_LOST = "its driver was lost; `orchestrator resume` continues"


class Keeper(threading.Thread):
    """Says, from a thread of its own, that the launch's driver is alive, however busy the driver is."""

    def __init__(self, client: "MlflowClient", parent_run_id: str) -> None:
        super().__init__(name="lease", daemon=True)
        self.client = client
        self.parent_run_id = parent_run_id
        self._ended = threading.Event()

    def run(self) -> None:
        """Renew until :meth:`end`; a store that does not answer is asked again soon."""
        pause = RENEWAL
        while not self._ended.wait(pause):
            try:
                self.client.set_tag(self.parent_run_id, LEASE, lease_end())
                pause = RENEWAL
            except Exception:  # the boundary to another program; the sink tells of it
                pause = min(RETRY, RENEWAL)

    def end(self) -> None:
        """Renew no more."""
        self._ended.set()


def close_abandoned(client: "MlflowClient", experiment: str, now: float | None = None) -> list[str]:
    """End, as killed, every running run of ``experiment`` whose driver is lost; returns the launches' run ids."""
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
            client.set_tag(run.info.run_id, STATUS, str(Status.STOPPED))
            client.set_tag(run.info.run_id, REASON, REASON_LOST)
            client.set_terminated(run.info.run_id, "KILLED")
        closed.append(parent)
    return closed
