"""Reports and models of ended trials: made in the trial's folder by :func:`make`, on free cores while others train."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.contract import Analysis
from orchestrator.data import Dataset, Normalisation, build_augmentation
from orchestrator.data.arrays import unpack
from orchestrator.errors import DiskFullError, OrchestratorError, StorageError
from orchestrator.files import FULL
from orchestrator.records import TrialRow
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.parts import ReportParts
from orchestrator.reporting.verdict.comparison import Comparison
from orchestrator.scheduling.mirror import FOLDERS, Storage
from orchestrator.spec import TrialSpec
from orchestrator.spec.plain import one_line
from orchestrator.tracking.models import save_model
from orchestrator.tracking.runs import MODEL
from orchestrator.trial import TrialFolder, training_indices

EXAMPLES = 2  # images in the model's input example


@dataclass(frozen=True)
class Order:
    """What to make for one ended trial, and the path of its folder."""

    trial: str
    folder: Path
    analysis: Analysis | None
    report: bool = False
    model: bool = False
    storage: Storage = FOLDERS
    published: Sequence[tuple[int, float]] = field(default=(), repr=False)  # a published curve to draw


def make(order: Order, packed: Mapping[str, Any], shared: ReportParts | None) -> tuple[bool, list[str]]:
    """In any process on any node: make what is ordered, in the trial's folder.

    Returns whether it has the report that was ordered, and warnings, one line each.
    """
    warnings: list[str] = []
    dataset, reported = unpack(packed), False
    with order.storage.reached(order.folder) as folder:
        if order.report:
            with _costs_a_warning("no report", warnings.append):
                reported = write_report(folder, dataset, order.analysis, warnings.append, order.published, shared)
        if order.model:
            with _costs_a_warning("no model", warnings.append):
                write_model(folder, dataset, warnings.append)
    return reported, [f"{order.trial}: {line}" for line in warnings]


@contextmanager
def _costs_a_warning(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """The boundary to the user's network, which is built and called here: it would raise the same error again.

    A lack of disk space or memory is not the network's fault: it is raised, and retried later.
    """
    try:
        yield
    except Exception as problem:
        if isinstance(problem, (MemoryError, StorageError, DiskFullError)) or getattr(problem, "errno", None) in FULL:
            raise
        warn(f"{what}: {type(problem).__name__}: {one_line(str(problem))}")


def compared(name: str, launch: str, comparison: Comparison, trials: Sequence[TrialRow]) -> str:
    """In any process: the HTML page of a launch's comparison, with its figure."""
    from orchestrator.reporting.verdict.page import comparison_page  # with matplotlib, which the driver does not need

    return comparison_page(name, launch, comparison, trials)


def draw(spec: TrialSpec, analysis: Analysis | None, packed: Mapping[str, Any]) -> tuple[ReportParts, list[str]]:
    """In any process: what the reports of all trials of the variant of ``spec`` share, and warnings, one line each."""
    from orchestrator.reporting.report import draw_shared  # with matplotlib, which the driver does not need

    warnings: list[str] = []
    dataset = unpack(packed)
    context = ReportContext.untrained(spec, dataset, training_indices(spec, dataset), analysis)
    return draw_shared(context, warnings.append), warnings


def write_report(
    folder: Path,
    dataset: Dataset,
    analysis: Analysis | None,
    warn: Callable[[str], None],
    published: Sequence[tuple[int, float]] = (),
    shared: ReportParts | None = None,
) -> bool:
    """Figures, tables and report.html in the trial folder ``folder``; a part that cannot be made becomes a warning.

    Returns whether there is a report: not if the folder is damaged, or does not fit its network.
    """
    from orchestrator.reporting.report import render_report

    context = _context(folder, dataset, analysis, warn, published)
    if context is None:
        return False
    render_report(context, folder, warn, shared)
    return True


def write_model(folder: Path, dataset: Dataset, warn: Callable[[str], None]) -> None:
    """The chosen weights as an MLflow model in ``folder/model``; a network that cannot be exported gives a warning."""
    trial = TrialFolder(folder)
    normalisation = _normalisation(trial)
    try:
        network = trial.network(len(dataset.classes), dataset.shape)
        if normalisation is None or network is None:
            warn("no model: the trial has no saved weights")
            return
        save_model(network, normalisation, dataset.classes, dataset.test.images[:EXAMPLES], folder / MODEL)
    except OrchestratorError as problem:
        warn(str(problem))


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
            first = (str(problem).splitlines() or [""])[0]
            self.warn(f"{order.trial}: no report: {type(problem).__name__}: {first}")
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


def _context(
    folder: Path,
    dataset: Dataset,
    analysis: Analysis | None,
    warn: Callable[[str], None],
    published: Sequence[tuple[int, float]],
) -> ReportContext | None:
    trial = TrialFolder(folder)
    spec = trial.spec()
    normalisation = _normalisation(trial)
    augmentation = None
    if normalisation is not None:
        augmentation = build_augmentation(
            spec.trainer.augmentation, seed=spec.seed, mean=normalisation.mean, shape=dataset.shape
        )
    try:
        return ReportContext(
            spec=spec,
            records=trial.records(),
            dataset=dataset,
            logits=trial.predictions(),
            network=trial.network(len(dataset.classes), dataset.shape),
            training_indices=training_indices(spec, dataset),
            mean=normalisation.mean if normalisation else (),
            std=normalisation.std if normalisation else (),
            augmentation=augmentation,
            analysis=analysis,
            published=published,
            outcome=trial.outcome(),
        )
    except OrchestratorError as problem:
        warn(f"no report: {problem}")
        return None


def _normalisation(trial: TrialFolder) -> Normalisation | None:
    known = trial.facts().get("normalisation")
    return Normalisation(tuple(known["mean"]), tuple(known["std"])) if known else None
