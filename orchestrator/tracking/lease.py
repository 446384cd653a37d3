"""True statuses: a driver keeps a lease on its launch, and whoever meets an expired one closes what it left open."""

import time
from typing import TYPE_CHECKING

from orchestrator.records import Status
from orchestrator.tracking.runs import KIND, PARENT, REASON, STATUS

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE = "lease_until"  # tag of a launch's run: seconds since 1970
LENGTH = 120.0  # seconds; a driver that is silent for so long is lost
RENEWAL = 30.0  # seconds between two renewals
REASON_LOST = "its driver was lost; `orchestrator resume` carries on"


def renew(client: "MlflowClient", parent_run_id: str) -> None:
    """Say that the launch's driver is alive."""
    client.set_tag(parent_run_id, LEASE, f"{time.time() + LENGTH:.0f}")


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
