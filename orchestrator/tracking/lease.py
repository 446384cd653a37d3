"""Correct run statuses: a driver keeps a lease on its launch, and commands close the runs of an expired one."""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import StorageError
from orchestrator.records import Status
from orchestrator.tracking.runs import TRIALS, LaunchRuns, children, end, reopen
from orchestrator.tracking.tags import KIND, LAUNCH, LEASE, LEASE_OWNER, PARENT, REASON, STATUS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LEASE_LENGTH = 120.0  # seconds; a driver that is silent for so long is lost
RENEWAL = 30.0  # seconds between two renewals
RETRY = 2.0  # seconds to the next attempt if the store did not answer: the lease may have expired by then
RUNNING = "attributes.status = 'RUNNING'"  # MLflow's filter
REASON_LOST = "its driver was lost; `orchestrator resume` continues"


def lease_end() -> str:
    """The value of the lease tag, renewed now."""
    return f"{time.time() + LEASE_LENGTH:.0f}"


def owner(folder: Path) -> str:
    """Who keeps the lease of a launch: the host and the launch's ``folder``, which its own lock guards on that host."""
    return f"{socket.gethostname()}:{folder.resolve()}"


def check_owner(launch: "Run", mine: str, now: float | None = None) -> None:
    """Raise StorageError if another driver than ``mine`` works on ``launch``; of the same owner at most one lives."""
    theirs, until = launch.data.tags.get(LEASE_OWNER, mine), float(launch.data.tags.get(LEASE, 0))
    left = until - (time.time() if now is None else now)
    if theirs == mine or left <= 0 or launch.info.status != "RUNNING":
        return
    raise StorageError(
        f"launch {launch.data.tags[LAUNCH]} in MLflow is being worked on by a driver at {theirs}; this one, at {mine}, "
        "would write over it. If that driver works, wait until it has ended, or begin a launch of its own here with "
        f"`run --again`. If it is lost, run the same command again in {left:.0f} seconds, when its lease has expired "
        f"({time.strftime('%H:%M:%S %Z', time.localtime(until))})"
    )


class Heartbeat(threading.Thread):
    """Signals, from its own thread, that the launch's driver is alive, however busy it is.

    While the store could not be reached, the lease may have expired and a reader may have closed the launch:
    ``on_closed`` is called for as long as its run says so.
    """

    def __init__(self, client: "MlflowClient", parent_run_id: str, on_closed: Callable[[], None]) -> None:
        super().__init__(name="lease", daemon=True)
        self.client = client
        self.parent_run_id = parent_run_id
        self.on_closed = on_closed
        self._ended = threading.Event()

    def run(self) -> None:
        """Renew until :meth:`end`; retries soon if the store does not answer."""
        pause = RENEWAL
        while not self._ended.wait(pause):
            try:
                self.client.set_tag(self.parent_run_id, LEASE, lease_end())
                if _is_closed(self.client.get_run(self.parent_run_id)):
                    self.on_closed()
                pause = RENEWAL
            except Exception:  # the boundary to another program; the sink reports it
                pause = min(RETRY, RENEWAL)

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()


def reopen_closed(runs: LaunchRuns, begun: Iterable[str]) -> None:
    """Undo what a reader did that took a living driver for lost: to the runs that it has ``begun``, then the launch's.

    Only the thread that writes to them may call it: none of them ends meanwhile.
    """
    client, mine = runs.client, set(begun)
    if not _is_closed(client.get_run(runs.parent_run_id)):  # it has been opened again, or has ended
        return
    for run in children(client, runs.experiment_id, runs.parent_run_id):
        if run.info.run_id in mine and _is_closed(run):
            reopen(client, run.info.run_id)
    reopen(client, runs.parent_run_id)


def _is_closed(run: "Run") -> bool:
    """Whether :func:`close_abandoned` has marked ``run``."""
    return run.data.tags.get(REASON) == REASON_LOST


def close_abandoned(client: "MlflowClient", experiment: str, now: float | None = None) -> list[str]:
    """Mark as killed every running run of ``experiment`` whose driver is lost; returns the launches' run ids.

    Whoever may read the store, but not write to it, reads them as they are.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    now = time.time() if now is None else now
    with suppress(MlflowException):
        _close_trials_of_ended(client, str(found.experiment_id), now)
    closed = []
    for launch in client.search_runs([found.experiment_id], f"{RUNNING} and tags.{KIND} = 'launch'"):
        if float(launch.data.tags.get(LEASE, 0)) > now:
            continue
        with suppress(MlflowException):
            _close(client, launch)
            closed.append(str(launch.info.run_id))
    return closed


def _close_trials_of_ended(client: "MlflowClient", experiment_id: str, now: float) -> None:
    """Mark the running trials of launches that have ended: a driver opens none before its launch, and its lease."""
    running = client.search_runs([experiment_id], f"{RUNNING} and {TRIALS}")
    for parent in {run.data.tags[PARENT] for run in running if PARENT in run.data.tags}:
        launch = client.get_run(parent)
        if launch.info.status != "RUNNING" and float(launch.data.tags.get(LEASE, 0)) <= now:
            _mark_lost(client, [run for run in running if run.data.tags.get(PARENT) == parent])


def _close(client: "MlflowClient", launch: "Run") -> None:
    """Mark the running trials of a lost ``launch`` and, last, its own run."""
    mine = f"{RUNNING} and {TRIALS} and tags.`{PARENT}` = '{launch.info.run_id}'"
    _mark_lost(client, [*client.search_runs([launch.info.experiment_id], mine), launch])


def _mark_lost(client: "MlflowClient", runs: "Iterable[Run]") -> None:
    for run in runs:
        client.set_tag(run.info.run_id, STATUS, str(Status.INTERRUPTED))
        client.set_tag(run.info.run_id, REASON, REASON_LOST)
        end(client, run, "KILLED")
