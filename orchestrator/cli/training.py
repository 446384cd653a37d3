"""One trial without Ray or MLflow, composed: used by ``train``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from orchestrator import records as keys
from orchestrator.architectures import build_network, source_digest
from orchestrator.architectures.probe import probe
from orchestrator.cli.checking import batch_problems, network_notes
from orchestrator.data import Dataset, check_transforms, load_dataset
from orchestrator.errors import ExperimentError
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.records import Record
from orchestrator.spec import TrialSpec
from orchestrator.trial import TrialFolder, run_trial


def train(
    tree: dict[str, Any],
    overrides: Sequence[str],
    *,
    out: Path | None,
    data_dir: Path,
    report: bool,
    quiet: bool,
    as_json: bool,
    print_json: Callable[[Any], None],
) -> int:
    """Train the trial that ``tree`` and ``overrides`` describe, leave its folder, print what came out."""
    try:
        spec = TrialSpec.from_json(apply_overrides(tree, overrides))
    except ValueError as problem:
        raise ExperimentError("command line", [str(problem)]) from problem
    if spec.trainer.threads == "auto":
        spec = replace(spec, trainer=replace(spec.trainer, threads=torch.get_num_threads()))
    dataset = load_dataset(spec.dataset, data_dir)
    if problems := check_transforms(spec.trainer.augmentation, dataset.shape):
        raise ExperimentError("command line", [f"trainer.augmentation: {problem}" for problem in problems])
    # What cannot be trained is refused here, not in the trial.
    behaviour = probe(build_network(spec.variant, spec.arguments, len(dataset.classes), dataset.shape), dataset.shape)
    if problems := batch_problems(spec, dataset, behaviour):
        raise ExperimentError("command line", problems)
    spec = replace(spec, source_digest=source_digest(spec.variant), dataset_digest=dataset.digest)
    folder = out or Path("trials") / spec.label / f"seed-{spec.seed}"

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=as_json)

    say(f"{spec.name} on {dataset.name}; folder: {folder}; the same command carries on after an interrupt")
    for note in dataset.notes:
        say(note)
    for note in network_notes(spec, dataset, behaviour):
        say(note)
    if spec.trainer.threads != 1 and spec.trainer.device != "cuda":
        say(f"CPU threads: {spec.trainer.threads}; --threads 1 gives the bits of `orchestrator run` with its defaults")
    for record in run_trial(spec, dataset, folder):
        say(_line(record, spec.trainer.epochs))
    if report:
        _report(folder, dataset, say)
    if as_json:
        print_json(_summary(TrialFolder(folder)))
    return 0


def _report(folder: Path, dataset: Dataset, say: Callable[[str], None]) -> None:
    from orchestrator.cli.reports import write_report
    from orchestrator.contract import analyse

    spec = TrialFolder(folder).spec()
    network = build_network(spec.variant, spec.arguments, len(dataset.classes), dataset.shape)
    write_report(folder, dataset, analyse(network, dataset.shape), say)
    say(f"report: {folder / 'report.html'}")


def _line(record: Record, epochs: int) -> str:
    m = record.metrics
    if record.final:
        accuracy = m.get(keys.TEST_ACCURACY)
        measured = f", test accuracy {100 * accuracy:.2f} %" if accuracy is not None else ""
        return f"done: weights of epoch {m[keys.BEST_EPOCH]:.0f}{measured}"
    judged = keys.VAL_ACCURACY if keys.VAL_ACCURACY in m else keys.TEST_ACCURACY
    return (
        f"epoch {record.epoch:>3}/{epochs}  train loss {m[keys.TRAIN_LOSS]:.4f}  "
        f"train {100 * m[keys.TRAIN_ACCURACY]:.2f} %  {judged.partition('/')[0]} {100 * m[judged]:.2f} %  "
        f"{m[keys.IMAGES_PER_SECOND]:,.0f} images/s"
    )


def _summary(folder: TrialFolder) -> dict[str, Any]:
    outcome, records = folder.outcome(), folder.records()
    last: dict[str, float] = {}
    for record in records:
        last.update(record.metrics)
    return {
        "trial": folder.spec().name,
        "folder": str(folder.path),
        "status": str(outcome.status) if outcome else "failed",
        "epochs": max((record.epoch for record in records), default=0),
        "parameters": folder.facts().get(keys.PARAMETERS),
        "metrics": last,
    }
