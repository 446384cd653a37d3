"""Correct run statuses: a driver keeps a lease on its launch, and commands close the runs of an expired one."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

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
LOOK = 1.0  # seconds between two looks at the lease of another driver
RUNNING = "attributes.status = 'RUNNING'"  # MLflow's filter
REASON_LOST = "its driver was lost; `orchestrator resume` continues"
_logger = logging.getLogger(__name__)


def lease_end() -> str:
    """The value of the lease tag, renewed now."""
    return f"{time.time() + LEASE_LENGTH:.0f}"


def owner(folder: Path) -> str:
    """Who keeps the lease of a launch, as JSON: this process, and the launch's ``folder`` on this host."""
    me = psutil.Process()
    who = {"host": socket.gethostname(), "folder": str(folder.resolve()), "process": me.pid, "began": me.create_time()}
    return json.dumps(who)


def await_owner(client: "MlflowClient", launch: "Run", mine: str) -> None:
    """Return when no other driver than ``mine`` can be at work on ``launch``; raise StorageError if one is.

    One in the same folder is excluded by the folder's lock, and one on this host has a process. One on another host
    renews its lease while it lives: it is lost once that has expired, which is waited for.
    """
    theirs, me = json.loads(launch.data.tags.get(LEASE_OWNER, "null")), json.loads(mine)
    until, is_here = float(launch.data.tags.get(LEASE, 0)), theirs is not None and theirs["host"] == me["host"]
    if theirs is None or (is_here and (theirs["folder"] == me["folder"] or not _is_alive(theirs))):
        return
    renewed = is_here
    if not renewed and launch.info.status == "RUNNING" and until > time.time():
        _logger.warning(
            "the driver of launch %s was last at work on %s; waiting until %s, when it counts as lost unless it says "
            "that it is not",
            *(launch.data.tags[LAUNCH], theirs["host"], time.strftime("%H:%M:%S", time.localtime(until))),
        )
    while launch.info.status == "RUNNING" and until > time.time():
        if renewed:
            raise StorageError(
                f"launch {launch.data.tags[LAUNCH]} in MLflow is being worked on by another driver, process "
                f"{theirs['process']} on {theirs['host']} in {theirs['folder']}; this one, on {me['host']} in "
                f"{me['folder']}, would write over it: wait until that one has ended, or begin a launch of its own "
                "here with `run --again`"
            )
        time.sleep(LOOK)
        launch = client.get_run(launch.info.run_id)
        renewed = float(launch.data.tags.get(LEASE, 0)) > until


def _is_alive(who: Mapping[str, Any]) -> bool:
    """Whether the process that ``who`` names still runs on this host."""
    try:
        process = psutil.Process(who["process"])
        is_it = abs(process.create_time() - float(who["began"])) < 1  # its number may be another's by now
        return is_it and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


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
