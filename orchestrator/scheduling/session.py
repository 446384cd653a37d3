"""Starting Ray here, or joining a cluster: quiet, on loopback, with a token of its own, no usage statistics."""

import functools
import logging
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from orchestrator import lazy
from orchestrator.errors import ResourceError
from orchestrator.scheduling.nodes import living_nodes
from orchestrator.scheduling.ray_folder import ASKED, INSIDE, choose, ray_folder
from orchestrator.scheduling.ray_state import read_again, refuse_if_connected, sole_session
from orchestrator.scoped import attributes, environment, log_level
from orchestrator.text import first_line

T = TypeVar("T")
LEAVING_POLL = 0.005  # seconds between two looks
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

# Ray would end workers that wait for a second, while there are more of them than cores: reports come in bursts.
_SYSTEM = {"idle_worker_killing_time_threshold_ms": 600_000}


def local_environment() -> dict[str, str]:
    """What must stand in the environment when this process imports Ray, if it is to start one of its own."""
    # A token that lives as long as this process; Ray would write one to the home folder otherwise. The third is the
    # switch by which Ray decides, when it is imported, between a machine's own address and loopback.
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token(), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@functools.cache
def _token() -> str:
    """One for the whole process."""
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
        asked = next((os.environ[name] for name in ASKED if os.environ.get(name)), "/tmp")
        left = Path(asked) / INSIDE / "ray_current_cluster"
        return left.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@contextmanager
def ray_session(
    address: str | None = None, cpus: int | None = None, debug: bool = False, gpus: int | None = None
) -> Iterator[list[dict[str, float]]]:
    """Ray for the length of a launch; yields what each living node has, as ``{"CPU": 2.0, "GPU": 1.0, ...}``.

    Without ``address`` a Ray of our own is started on loopback and ended again. With one, that cluster is joined
    (RAY_AUTH_TOKEN and the like are Ray's own). Raises ResourceError if it cannot be reached, or not be started here,
    and if this process is connected to Ray already, which stays so.
    """
    local = address is None
    with sole_session(), _environment(local), ExitStack() as stack:
        if address is not None:
            check_address(address)
        folder = stack.enter_context(ray_folder(debug)) if local else None
        ray = _import_ray()
        read_again(ray)
        # Ray would like to handle SIGTERM itself, and says so where it cannot: signals are ours.
        stack.enter_context(log_level(logging.INFO if debug else logging.ERROR, "ray._private.worker"))
        try:
            with _lean(ray, debug) if local else nullcontext():
                ray.init(
                    address="local" if local else address,
                    num_cpus=cpus if local else None,
                    num_gpus=gpus if local else None,
                    include_dashboard=False if local else None,
                    dashboard_host="127.0.0.1",
                    log_to_driver=debug,
                    logging_level=logging.INFO if debug else logging.ERROR,
                    _system_config=_SYSTEM if local else None,
                    _temp_dir=str(folder.path) if folder else None,
                )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as problem:
            ray.shutdown()
            if folder is None:
                raise ResourceError(f"no Ray cluster answers at {address}: {first_line(problem)}") from problem
            folder.keep = True  # Ray's logs in it say more
            raise ResourceError(
                f"Ray cannot be started here: {first_line(problem)} (its logs are in {folder.path})"
            ) from problem
        level = logging.INFO if debug else logging.CRITICAL
        stack.enter_context(log_level(level, "ray", "ray.tune", "ray.train", "ray.air"))
        try:
            yield living_nodes()
        finally:
            ray.shutdown()


@contextmanager
def _lean(ray: Any, debug: bool) -> Iterator[None]:
    """Inside this block Ray starts without its autoscaler, API server and, unless ``debug``, its log monitor.

    A local session does not use them, and they take a third of Ray's start and most of its shutdown. These methods are
    Ray's internals: if a later release has renamed them, it starts as usual.
    """
    names = ("start_monitor", "start_api_server", *(() if debug else ("start_log_monitor",)))
    node = ray._private.node.Node
    with attributes(node, **{name: lambda *args, **given: None for name in names if hasattr(node, name)}):
        yield


def _environment(local: bool) -> AbstractContextManager[None]:
    """What Ray reads when it is imported and started, for a block; what the user has set stays."""
    settings = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    return environment({**settings, **(local_environment() if local else {})})


def _in_ray() -> bool:
    """Whether this process has a core worker; ``ray.is_initialized()`` turns false before that has been shut down."""
    return hasattr(_import_ray()._private.worker.global_worker, "core_worker")


def _import_ray() -> Any:
    with warnings.catch_warnings(action="ignore"):
        import ray
    return ray


class BackgroundRay:
    """A Ray session that starts in a thread of its own, so that its caller has time for other things meanwhile.

    The thread lives as long as the session: Linux kills Ray's processes with the thread that started them.
    """

    def __init__(self, address: str | None = None, debug: bool = False) -> None:
        self._started: Future[list[dict[str, float]]] = Future()
        self._wanted = threading.Event()
        self._unwanted = threading.Event()
        self._address = address
        self._thread = threading.Thread(target=self._hold, args=(address, debug), name="ray", daemon=True)

    def begin(self) -> None:
        """Start, and return at once; a second time does nothing.

        Raises ResourceError if Ray has no folder here, or this process is connected to Ray already.
        """
        if not self._wanted.is_set():
            refuse_if_connected()
            if self._address is None:
                choose()
            with _environment(self._address is None):
                _import_ray()  # here, so that it does not wait its turn among the imports of other threads
            self._wanted.set()
            self._thread.start()

    def nodes(self) -> list[dict[str, float]]:
        """What each living node has, as :func:`ray_session` says; waits for the start, and raises as it does."""
        self.begin()
        return self._started.result()

    def then(self, call: Callable[[list[dict[str, float]]], T]) -> "Future[T]":
        """The future of what ``call`` returns for the nodes; it is called as soon as Ray has started."""
        self.begin()
        made: Future[T] = Future()

        def started(nodes: Future[list[dict[str, float]]]) -> None:
            try:
                made.set_result(call(nodes.result()))
            except BaseException as problem:  # whoever asks for the result is told
                made.set_exception(problem)

        self._started.add_done_callback(started)
        return made

    def end(self, wait: bool = True) -> None:
        """Shut Ray down, if it was begun, and wait for its end; without ``wait`` only until we have disconnected.

        Ray exits the whole process if a thread drops an ObjectRef while another one shuts the core worker down. So the
        garbage collector is off meanwhile, and the caller is held until it is over.
        """
        self._unwanted.set()
        if not self._wanted.is_set():
            return
        with lazy.no_garbage_collection():
            while self._thread.is_alive() and _in_ray():
                time.sleep(LEAVING_POLL)
        if wait:
            self._thread.join()

    def _hold(self, address: str | None, debug: bool) -> None:
        try:
            with ray_session(address, debug=debug) as nodes:
                self._started.set_result(nodes)
                self._unwanted.wait()
        except Exception as problem:  # whoever waits for the nodes is told
            if self._started.done():
                raise
            self._started.set_exception(problem)

    def __enter__(self) -> "BackgroundRay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
