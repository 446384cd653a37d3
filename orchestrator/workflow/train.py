"""One trial without Ray or MLflow: what ``train`` does."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from orchestrator.architectures import build_network, source_digest
from orchestrator.data import Dataset, check_transforms, load_dataset
from orchestrator.errors import ExperimentError
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.paths import absolute, absolute_references
from orchestrator.files import locked
from orchestrator.spec import Contract, TrialSpec
from orchestrator.spec.kinds import keys_of, nearest_path
from orchestrator.text import did_you_mean
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.apart import apart
from orchestrator.workflow.display import Display
from orchestrator.workflow.networks import Networks
from orchestrator.workflow.same_network import open_folder

LOCK = "train.lock"  # in the trial's folder
SETTABLE = ("as", "arguments", "seed", "dataset", "trainer")  # what --set may change of a trial


@apart()
def train(
    tree: dict[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: Path | None = None,
    data_dir: Path,
    report: bool = True,
    display: Display,
    source: str = "the trial",
) -> TrialFolder:
    """Train the trial that ``tree`` and ``overrides`` describe; returns its folder.

    The same call resumes a trial that was interrupted. ``source`` names the origin of the settings in errors. Raises
    ExperimentError, DataError or VariantError if it cannot be trained, and whatever the training raises.
    """
    changed = apply_overrides(tree, overrides)
    if unknown := [problem for path in overrides if (problem := _not_settable(path.partition("=")[0]))]:
        raise ExperimentError(source, unknown)
    spec = _specification(changed, source)
    spec = replace(spec, variant=absolute(spec.variant), arguments=absolute_references(spec.arguments))
    if spec.trainer.threads == "auto":
        spec = replace(spec, trainer=replace(spec.trainer, threads=torch.get_num_threads()))
    dataset = load_dataset(spec.dataset, data_dir)
    if problems := check_transforms(spec.trainer.augmentation, dataset.shape):
        raise ExperimentError(source, [f"trainer.augmentation: {problem}" for problem in problems])
    networks = Networks(Contract(), dataset)
    if problems := networks.problems(spec):  # invalid requests are refused here, not in the trial
        raise ExperimentError(source, problems)
    spec = replace(spec, source_digest=source_digest(spec.variant, spec.arguments), dataset_digest=dataset.digest)
    folder = out or Path("trials") / spec.label / f"seed-{spec.seed}"
    display.log(f"{spec.name} on {dataset.name}; folder: {folder}; the same command resumes after an interruption")
    open_folder(folder, spec, len(dataset.classes), dataset.shape)
    for note in (*dataset.notes, *networks.notes(spec)):
        display.log(note)
    if spec.trainer.threads != 1 and spec.trainer.device != "cuda":
        threads = f"CPU threads: {spec.trainer.threads}"
        display.log(f"{threads}; with 1, the result equals that of `orchestrator run` with its defaults, bit for bit")
    taken = f"{folder} is being trained by another process; wait for it, or give another folder with --out"
    remedy = "give a folder on a file system that locks files with --out"
    may_train = os.access(folder, os.W_OK)  # else it is complete, or cannot be resumed
    with locked(folder / LOCK, taken, remedy) if may_train else nullcontext():
        _train(spec, dataset, folder, display)
    if report:
        _report(folder, dataset, display.log)
    return TrialFolder(folder)


def _train(spec: TrialSpec, dataset: Dataset, folder: Path, display: Display) -> None:
    with display.training([spec.name], spec.trainer.epochs, ()) as listeners:
        for listener in listeners:
            listener.on_start(spec.name)
        for record in run_trial(spec, dataset, folder):
            for listener in listeners:
                listener.on_record(spec.name, record)
        outcome = TrialFolder(folder).outcome()
        assert outcome is not None  # a trial that does not complete raises
        for listener in listeners:
            listener.on_end(outcome)


def _not_settable(path: str) -> str | None:
    """Why the setting at ``path`` cannot be overridden, or None: the network is named, the rest follows from others."""
    key = path.partition(".")[0]
    if key in SETTABLE:
        return None
    if key == "variant":
        return "variant: name the network as VARIANT, not by --set"
    computed = key in keys_of(TrialSpec)  # source_digest
    near = did_you_mean(key, SETTABLE) or ("" if computed else nearest_path(path, TrialSpec))
    return f"{path}: unknown key{near}; allowed: {', '.join(SETTABLE)}"


def _specification(tree: dict[str, Any], source: str) -> TrialSpec:
    """The trial that ``tree`` describes. Raises ExperimentError; without pydantic it names the first problem only."""
    try:
        from orchestrator.experiment.reader import read_trial
    except ImportError:  # a trial trains with torch alone
        try:
            return TrialSpec.from_json(tree)
        except ValueError as problem:
            raise ExperimentError(source, [str(problem).removeprefix("spec.")]) from problem
    return read_trial(tree, source)


def _report(folder: Path, dataset: Dataset, log: Callable[[str], None]) -> None:
    from orchestrator.analysis import analyse
    from orchestrator.workflow.make_report import write_report

    spec = TrialFolder(folder).spec()
    network = build_network(spec.variant, spec.arguments, len(dataset.classes), dataset.shape)
    write_report(folder, dataset, analyse(network, dataset.shape), log)
    log(f"report: {folder / 'report.html'}")
