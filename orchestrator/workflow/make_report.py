"""Reports and models of ended trials: made in the trial's folder by :func:`make`, on free cores while others train."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.analysis import Analysis
from orchestrator.data import Dataset, Normalisation, build_augmentation
from orchestrator.data.arrays import from_arrays
from orchestrator.errors import DiskFullError, OrchestratorError, StorageError
from orchestrator.files import FULL
from orchestrator.redact import redact
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.parts import ReportParts
from orchestrator.scheduling.storage import FOLDERS, Storage
from orchestrator.spec import TrialSpec
from orchestrator.spec.json_values import one_line
from orchestrator.tracking.models import save_model
from orchestrator.tracking.tags import MODEL
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
    dataset, reported = from_arrays(packed), False
    with order.storage.reached(order.folder) as folder:
        if order.report:
            with _costs_a_warning("no report", warnings.append):
                reported = write_report(folder, dataset, order.analysis, warnings.append, order.published, shared)
        if order.model:
            with _costs_a_warning("no model", warnings.append):
                write_model(folder, dataset, warnings.append)
    return reported, [redact(f"{order.trial}: {line}") for line in warnings]  # here, where the secrets are known


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


def draw(spec: TrialSpec, analysis: Analysis | None, packed: Mapping[str, Any]) -> tuple[ReportParts, list[str]]:
    """In any process: what the reports of all trials of the variant of ``spec`` share, and warnings, one line each."""
    from orchestrator.reporting.report import draw_shared  # with matplotlib, which the driver does not need

    warnings: list[str] = []
    dataset = from_arrays(packed)
    context = ReportContext.untrained(spec, dataset, training_indices(spec, dataset), analysis)
    return draw_shared(context, warnings.append), [redact(line) for line in warnings]


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
