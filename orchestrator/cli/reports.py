"""A finished trial's report and model, made in its folder before the folder is sent to MLflow."""

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.cli.checking import Checked
from orchestrator.contract import Analysis
from orchestrator.data import Dataset, Normalisation, apply, build_augmentation
from orchestrator.errors import OrchestratorError
from orchestrator.records import Outcome
from orchestrator.reporting.material import Material
from orchestrator.reporting.published import read_curve
from orchestrator.reporting.report import render_report
from orchestrator.tracking.artifacts import MODEL, MODEL_FILE, save_model
from orchestrator.trial import TrialFolder, training_indices

EXAMPLES = 2  # pictures in the model's input example


class Reporter:
    """Makes the report and the model of each trial that left a folder; what cannot be made costs a warning."""

    def __init__(self, checked: Checked, warn: Callable[[str], None]) -> None:
        self.checked = checked
        self.warn = warn
        curve = checked.plan.experiment.published_curve
        self.published = read_curve(Path(curve)) if curve else []

    def __call__(self, outcome: Outcome) -> None:
        """Called once a trial has ended, before its folder is sent."""
        if outcome.folder is None:
            return
        dataset = self.checked.dataset

        def warn(text: str) -> None:
            self.warn(f"{outcome.trial}: {text}")

        write_report(outcome.folder, dataset, self.checked.analyses[outcome.trial], warn, self.published)
        write_model(outcome.folder, dataset, warn)


def write_report(
    folder: Path,
    dataset: Dataset,
    analysis: Analysis | None,
    warn: Callable[[str], None],
    published: Sequence[tuple[int, float]] = (),
) -> None:
    """Figures, tables and report.html in the trial folder ``folder``; ``published`` is a curve to draw beside ours."""
    trial = TrialFolder(folder)
    spec = trial.spec()
    normalisation = _normalisation(trial)
    augmentation = None
    if normalisation is not None:
        augmentation = build_augmentation(
            spec.trainer.augmentation, seed=spec.seed, mean=normalisation.mean, shape=dataset.shape
        )
    try:
        material = Material(
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
        return
    render_report(material, folder, warn)


def write_model(folder: Path, dataset: Dataset, warn: Callable[[str], None]) -> None:
    """The chosen network as an MLflow model in ``folder/model``, unless it is there."""
    trial = TrialFolder(folder)
    normalisation = _normalisation(trial)
    if normalisation is None or (folder / MODEL / MODEL_FILE).is_file():
        return
    try:
        network = trial.network(len(dataset.classes), dataset.shape)
        if network is not None:
            save_model(network, apply(dataset.test.images[:EXAMPLES], normalisation), folder / MODEL)
    except OrchestratorError as problem:
        warn(str(problem))


def _normalisation(trial: TrialFolder) -> Normalisation | None:
    known = trial.facts().get("normalisation")
    return Normalisation(tuple(known["mean"]), tuple(known["std"])) if known else None
