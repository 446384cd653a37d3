"""Starting Ray here, or joining a cluster: quiet, on loopback, with a token of its own, no usage statistics."""

import functools
import logging
import os
import secrets
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import ResourceError
from orchestrator.scheduling.nodes import living_nodes

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 this silences Tune; our own view takes its place
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's announced default; saying it avoids a warning
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no result.json, progress.csv and TensorBoard files of Tune's own
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports no accuracy
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",  # seconds; we never use Tune's own snapshots to restore a launch
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours: the first one drains
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

_OURS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")


def local_environment() -> dict[str, str]:
    """What must stand in the environment when this process imports Ray, if it is to start one of its own."""
    # A token that lives as long as this process; Ray would write one to the home folder otherwise. The third is the
    # switch by which Ray decides, when it is imported, between a machine's own address and loopback.
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token(), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@functools.cache
def _token() -> str:
    """One for the whole process: Ray remembers the first that it meets."""
    return secrets.token_hex(32)


def check_address(address: str) -> None:
    """Raise ResourceError at once for what is no address and where nobody listens: Ray would try for minutes."""
    if "://" in address:
        raise ResourceError(
            f"{address} is no address to join: write host:port, or auto on a node; "
            "through the Jobs API (http://...) `orchestrator submit` runs an experiment"
        )
    found = _current_address() if address == "auto" else address
    host, colon, port = found.rpartition(":")
    if not (colon and port.isdigit()):
        return  # Ray says what is wrong with it
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as problem:
        where = address if found == address else f"{found}, the last one started here"
        raise ResourceError(f"no Ray cluster answers at {where}: {problem.strerror or problem}") from problem


def _current_address() -> str:
    """Where Ray looks for ``auto``: its variable, or the file that `ray start` leaves; empty if there is neither."""
    if given := os.environ.get("RAY_ADDRESS", ""):
        return given
    try:
        left = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
        return left.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@contextmanager
def ray_session(
    address: str | None = None, cpus: int | None = None, debug: bool = False
) -> Iterator[list[dict[str, float]]]:
    """Ray for the length of a launch; yields what each living node has, as ``{"CPU": 2.0, "GPU": 1.0, ...}``.

    Without ``address`` a Ray of our own is started on loopback and ended again. With one, that cluster is joined
    (RAY_AUTH_TOKEN and the like are Ray's own). Raises ResourceError if it cannot be reached.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    before = {name: os.environ.get(name) for name in _OURS}
    local = address is None
    if local:
        os.environ.update(local_environment())
    try:
        if address is not None:
            check_address(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray

        try:
            ray.init(
                address="local" if local else address,
                num_cpus=cpus if local else None,
                include_dashboard=False if local else None,
                dashboard_host="127.0.0.1",
                log_to_driver=debug,
                logging_level=logging.INFO if debug else logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as problem:
            where = "Ray cannot be started here" if local else f"no Ray cluster answers at {address}"
            raise ResourceError(f"{where}: {str(problem).splitlines()[0]}") from problem
        for name in ("ray", "ray.tune", "ray.train", "ray.air"):
            logging.getLogger(name).setLevel(logging.INFO if debug else logging.CRITICAL)
        yield living_nodes()
    finally:
        if "ray" in locals():
            ray.shutdown()
        for name, previous in before.items():
            os.environ.pop(name, None) if previous is None else os.environ.update({name: previous})
