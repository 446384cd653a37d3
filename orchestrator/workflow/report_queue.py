"""Order reports and models of ended trials from an executor, and hand on what it has made."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from orchestrator.analysis import Analysis
from orchestrator.spec import TrialSpec
from orchestrator.spec.json_values import one_line
from orchestrator.text import in_one_line
from orchestrator.workflow.make_report import Order, draw, make


class Reporter:
    """Lets ``executor`` make what is ordered, and calls ``deliver`` with each order and whether its report was made.

    What all trials of a variant share is drawn once, before the first of them. An order that fails calls ``warn``
    once; the launch is then incomplete, and the next command makes what is missing.
    """

    def __init__(
        self,
        executor: Executor,
        packed: Any,
        deliver: Callable[[Order, bool], None],
        warn: Callable[[str], None],
    ) -> None:
        self.executor = executor
        self.packed = packed  # placeholder of the packed dataset among the executor's arguments
        self.deliver = deliver
        self.warn = warn
        self.ordered = self.made = self.failed = 0
        self._changed = threading.Condition()
        self._shared: dict[str, Future[Any]] = {}  # by network_key

    def prepare(self, spec: TrialSpec, analysis: Analysis | None) -> "Future[Any]":
        """Draw what the reports of all trials of this variant share, unless ordered already; returns at once."""
        key = spec.network_key
        if key not in self._shared:
            self._shared[key] = self.executor.submit(draw, spec, analysis, self.packed)
        return self._shared[key]

    def order(self, order: Order, spec: TrialSpec) -> None:
        """Make it as soon as a core is free; returns at once."""
        with self._changed:
            self.ordered += 1
        if not order.report:
            self._make(order, None)
            return
        self.prepare(spec, order.analysis).add_done_callback(lambda drawn: self._make(order, drawn))

    def wait(self, progress: Callable[[str], None] = lambda _: None) -> bool:
        """Wait until every order has ended; returns whether all were made. ``progress`` is called with the state."""
        with self._changed:
            while (ended := self.made + self.failed) < self.ordered:
                progress(f"making reports: {ended} of {self.ordered}")
                self._changed.wait()
        return not self.failed

    def _count(self, made: bool) -> None:
        with self._changed:
            self.made, self.failed = self.made + made, self.failed + (not made)
            self._changed.notify_all()

    def _make(self, order: Order, drawn: "Future[Any] | None") -> None:
        shared = None
        if drawn is not None and not drawn.cancelled() and drawn.exception() is None:
            shared, warnings = drawn.result()
            for line in warnings:
                self.warn(f"{order.trial}: {line}")
            warnings.clear()  # reported once, by the first trial of the variant
        try:
            self.executor.submit(make, order, self.packed, shared).add_done_callback(
                lambda future: self._end(order, future)
            )
        except RuntimeError:  # shut down meanwhile
            self._count(made=False)

    def _end(self, order: Order, future: "Future[Any]") -> None:
        if future.cancelled():
            self._count(made=False)
            return
        if (problem := future.exception()) is not None:
            self.warn(f"{order.trial}: no report: {in_one_line(problem)}")
            self._count(made=False)
            return
        reported, warnings = future.result()
        for line in warnings:
            self.warn(line)
        try:
            self.deliver(order, reported)
        except Exception as problem:  # of the storage that it is fetched from: counted, otherwise all would wait for it
            self.warn(f"{order.trial}: its report could not be delivered: {one_line(str(problem))}")
            self._count(made=False)
        else:
            self._count(made=True)
