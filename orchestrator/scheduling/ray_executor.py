"""An executor on cores that no trial needs: on any node, at the lowest priority, only so many calls at a time.

When the last trial has ended somebody waits for the remaining calls: :meth:`RayExecutor.raise_priority`.
"""

import importlib
import operator
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.scheduling.directory import enter

RETRIES = 2  # after a call that raised, or whose node or process was lost
WORTH_IT = 3  # calls that wait for each one that runs, before one more process is started: that takes seconds
POLL = 0.1  # seconds between two looks at what waits, while something runs
GRACE = 5.0  # seconds that a call at the lowest priority has to end, when nothing trains any more
NORMAL = 0
WARMING, LOWEST = 5, 19  # niceness
IDLE = 20  # nicer than nice: Linux's class of what runs when nothing else does


def core_count(nodes: Sequence[Mapping[str, float]]) -> int:
    """The cores of all ``nodes``, each as Ray counts its resources."""
    return int(sum(node.get("CPU", 0) for node in nodes))


@dataclass
class _Call:
    future: "Future[Any]"
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    priority: int = IDLE
    retries: int = RETRIES


class RayExecutor(Executor):
    """Calls functions as Ray tasks, ``slots`` at a time, in the order in which they were submitted.

    The tasks ask for no resources, so they never keep a trial from a core; the kernel runs them when a core is idle.
    Functions must be importable by name, arguments and results picklable; an argument that many calls share is best
    given by :meth:`put`.
    """

    def __init__(self, slots: int) -> None:
        import ray

        self._ray = ray
        # What the function raises is retried here rather than by Ray, which would print every traceback.
        self._task = ray.remote(num_cpus=0, max_retries=RETRIES, scheduling_strategy="SPREAD")(_call_at_priority)
        self.slots = slots  # may be changed at any time
        self._directory = str(Path.cwd())  # a network opens its files from here
        self._waiting: deque[_Call] = deque()
        self._running: dict[Any, _Call] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._raised: float | None = None  # when it was, as time.monotonic() counts
        self._thread = threading.Thread(target=self._work, name="ray-executor", daemon=True)
        self._thread.start()

    def put(self, value: Any) -> Any:
        """``value`` in Ray's object store, once a node: what tasks are given for it is the value itself."""
        return self._ray.put(value)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """A future of ``fn(*args)``. Its callbacks are called in a thread of this executor."""
        if kwargs:
            raise TypeError("only positional arguments are passed on")
        return self._submit(_Call(Future(), fn, args))

    def submit_first(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """As :meth:`submit`, but before all that waits, at a priority that makes progress: somebody waits for it."""
        return self._submit(_Call(Future(), fn, args, WARMING), first=True)

    def submit_warm_up(self, fn: Callable[[], Any]) -> "Future[Any]":
        """As :meth:`submit`, but at a priority that makes progress while all cores are busy: for imports, done once."""
        return self._submit(_Call(Future(), fn, (), WARMING))

    def raise_priority(self) -> None:
        """Run all calls from now on at the normal priority: nothing trains any more, and somebody waits for them.

        A core that other programs keep busy is never idle: what is still running at the lowest priority after
        ``GRACE`` seconds is ended and begun anew.
        """
        with self._changed:
            self._raised = time.monotonic()
            self._changed.notify()

    def _submit(self, call: _Call, first: bool = False) -> "Future[Any]":
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor has been shut down")
            if first:
                self._waiting.appendleft(call)
            else:
                self._waiting.append(call)
            self._changed.notify()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; without ``wait`` those that run are cancelled too. Ray may end when this returns."""
        with self._changed:
            self._closed = True
            if not wait:
                self._raised = None  # calls that are cancelled now are not restarted
            if cancel_futures or not wait:
                while self._waiting:
                    self._waiting.popleft().future.cancel()
            abandoned = [] if wait else list(self._running)
            self._changed.notify()
        for reference in abandoned:
            self._ray.cancel(reference, force=True)
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._running or self._closed)
                if self._closed and not self._waiting and not self._running:
                    return
                while len(self._waiting) > WORTH_IT * len(self._running) and len(self._running) < max(1, self.slots):
                    call = self._waiting.popleft()
                    if call.future.running() or call.future.set_running_or_notify_cancel():
                        if self._raised is not None:
                            call.priority = NORMAL
                        name = call.function.__module__, call.function.__qualname__
                        self._running[self._task.remote(name, self._directory, call.priority, *call.arguments)] = call
                running = list(self._running)
            done, _ = self._ray.wait(running, timeout=POLL) if running else ([], [])
            for reference in done:
                self._settle(reference)
            if self._raised is not None and time.monotonic() > self._raised + GRACE:
                self._restart_idle_calls()

    def _restart_idle_calls(self) -> None:
        """End what waits for an idle core; it is submitted again, at the normal priority."""
        with self._changed:
            starved = {reference: call for reference, call in self._running.items() if call.priority == IDLE}
            for reference, call in starved.items():
                del self._running[reference]
                self._waiting.appendleft(call)
        for reference in starved:
            self._ray.cancel(reference, force=True)

    def _settle(self, reference: Any) -> None:
        try:
            result, problem = self._ray.get(reference)
        except Exception as lost:  # Ray's word for a process or node that was lost too often, or for a cancelled call
            result, problem = None, lost
        with self._changed:
            call = self._running.pop(reference)
            if problem is not None and call.retries and not self._closed:
                call.retries -= 1
                self._waiting.append(call)
                return
        if problem is None:
            call.future.set_result(result)
        else:
            call.future.set_exception(problem)


def _call_at_priority(
    name: tuple[str, str], directory: str, priority: int, *arguments: Any
) -> tuple[Any, Exception | None]:
    """What the function called ``name``, module and qualified name, returned in ``directory``, or what it raised.

    It is imported and runs in a thread of its own: the process goes back to Ray at the priority that it had.
    """

    def call() -> Any:
        function = operator.attrgetter(name[1])(importlib.import_module(name[0]))
        return function(*arguments)

    enter(directory)
    with ThreadPoolExecutor(1, initializer=_lower_priority, initargs=(priority,)) as thread:
        try:
            return thread.submit(call).result(), None
        except Exception as problem:  # the boundary to another process: the caller is told
            return None, problem


def _lower_priority(priority: int) -> None:
    """Give this thread a niceness, or let it run only when nobody else wants its core; on Linux, where threads can."""
    if sys.platform != "linux":
        return
    with suppress(OSError):  # a container may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(priority, LOWEST))
        if priority == IDLE:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
