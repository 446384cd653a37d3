"""Run one trial in its folder, from the beginning or from its last checkpoint, to its outcome."""

import logging
import time
import traceback
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator import records as keys
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.architectures.crash import crash
from orchestrator.data import Dataset, Split, build_augmentation, measure, train_validation_indices
from orchestrator.data.normalisation import Normalisation, from_sums
from orchestrator.errors import CheckpointError, DiskFullError, DivergedError, OrchestratorError, StorageError
from orchestrator.records import Failure, Record, Status
from orchestrator.redact import redact
from orchestrator.spec import TrialSpec
from orchestrator.training import checkpoint
from orchestrator.training.batches import Batches, resident
from orchestrator.training.device import Placement, describe_trial, name_of, place
from orchestrator.training.evaluate import Evaluation, score
from orchestrator.training.forward_time import forward_seconds
from orchestrator.training.learner import Learner
from orchestrator.training.loop import fit
from orchestrator.training.machine_faults import lacks_memory
from orchestrator.training.process import compute_as, training_process
from orchestrator.training.randomness import seed_everything
from orchestrator.training.release import clear_tracebacks, empty_device_cache
from orchestrator.training.step import build_step
from orchestrator.training.suitability import channels_last_problem
from orchestrator.training.weights import load_weights
from orchestrator.trial.background import BackgroundWriter
from orchestrator.trial.folder import TrialFolder
from orchestrator.trial.source import refuse_edited_since_planned

_logger = logging.getLogger(__name__)


def run_trial(
    spec: TrialSpec, dataset: Dataset, path: Path, measure: bool = True, writer: BackgroundWriter | None = None
) -> Generator[Record]:
    """Train as ``spec`` says and leave everything in the folder ``path``; yield one record an epoch and a final one.

    A folder in which this trial was begun is resumed from its last checkpoint, to the same bits as if it had
    never stopped; records that it already holds are not yielded again, and a complete trial yields nothing, unless
    something of it is damaged or missing. Without ``measure`` nothing looks at the test split: the trial is complete
    without, and run once more with it, it is measured with the weights that it has chosen, to the same figures. Only
    then is a forward pass timed: of a search, only for the trials that are compared.
    Whatever goes wrong is written to the folder as the trial's outcome and then raised.

    An epoch's state is written by ``writer`` while the next one trains: when a record is yielded, the states of the
    epochs before it are in the folder, and when this ends or is closed, all are.
    """
    folder = TrialFolder.create(path, spec)
    is_complete = (before := folder.outcome()) and before.status is Status.COMPLETE and folder.is_intact()
    if is_complete and (not measure or folder.is_measured()):
        return
    folder.reopen()
    try:
        with writer or BackgroundWriter() as writing, training_process(spec.trainer):
            yield from _train(spec, dataset, folder, measure, writing, trained=bool(is_complete))
    except Exception as problem:  # the trial's boundary: a failure is recorded, then surfaced
        with suppress(DiskFullError):  # not even that can be written; whoever called is told all the same
            shown = reason_of(problem), redact(traceback.format_exc())
            folder.finish(Status.FAILED, *shown, kind_of(problem))
        clear_tracebacks(problem)
        raise
    finally:
        empty_device_cache()


def reason_of(problem: Exception) -> str:
    """Why a trial has failed, in one line without secrets; of a network's own exception with the place in its code."""
    reason = str(problem) if isinstance(problem, OrchestratorError) else crash(problem)
    return redact(reason.partition("\n")[0])


def kind_of(problem: Exception) -> Failure:
    """What kind of failure an exception from a trial is."""
    if isinstance(problem, DivergedError):
        return Failure.DIVERGED
    if isinstance(problem, DiskFullError):
        return Failure.DISK_FULL
    if lacks_memory(problem):
        return Failure.OUT_OF_MEMORY
    return Failure.ERROR


def _train(
    spec: TrialSpec, dataset: Dataset, folder: TrialFolder, measure: bool, writer: BackgroundWriter, trained: bool
) -> Generator[Record]:
    recipe = spec.trainer
    refuse_edited_since_planned(spec)
    network, placement = _initial_network(spec, dataset)
    compute_as(recipe)  # again: a network may have changed torch's settings when its layout was tried
    training, judged = _split(spec, dataset)
    normalisation = _normalisation(dataset, training)
    augmentation = build_augmentation(recipe.augmentation, seed=spec.seed, mean=normalisation.mean, shape=dataset.shape)
    images = resident(dataset.train, placement.device)
    batches = Batches(
        images, training, recipe.batch_size, spec.seed, augmentation, normalisation, placement, recipe.drop_last
    )
    learner = Learner.build(network, recipe, placement, len(batches))
    _restore(learner, folder, trained and recipe.protocol != "published")
    before = _facts_before(folder) if learner.epoch else {}
    folder.save_facts(_facts(network, dataset, normalisation, placement, before))

    def evaluation(images: Tensor, cuda_graph: bool) -> Evaluation:
        size, classes = recipe.evaluation_batch_size, len(dataset.classes)
        return Evaluation(network, images, classes, normalisation, placement, size, spec.seed, cuda_graph)

    logits_of_judged = evaluation(resident(judged, placement.device).images, recipe.cuda_graph)

    def evaluate(epoch: int) -> dict[str, float]:
        return score(logits_of_judged(), judged.labels, f"the evaluation after epoch {epoch}")

    for record in fit(learner, build_step(learner, recipe), batches, evaluate, recipe, spec.seed):
        write_in_background(writer, folder, learner, record)
        yield record

    writer.wait()
    weights, chosen = learner.best_weights, learner.best_epoch
    if recipe.protocol == "published":  # nothing was held out to choose by: the last weights, as they are
        weights, chosen = learner.weights(), learner.epoch
    load_weights(network, weights)
    folder.save_best(weights, chosen)
    metrics = {keys.BEST_EPOCH: float(chosen)}
    if measure:
        test = dataset.test
        logits = evaluation(test.images, cuda_graph=False)()
        where = f"the evaluation of the test split with the weights of epoch {chosen}"
        measured = keys.of_split("test", score(logits, test.labels, where))
        folder.save_predictions(logits, test.labels)
        # By the published protocol the last epoch's record holds the same test figures.
        metrics |= {keys.PUBLISHED_BEST: learner.best_accuracy} if recipe.protocol == "published" else measured
        metrics |= forward_seconds(network, test.images, normalisation, placement, recipe.evaluation_batch_size)
    final = Record(learner.epoch, time.time(), metrics, final=True)
    folder.append(final)
    folder.finish(Status.COMPLETE)
    yield final


def _facts(
    network: nn.Module, dataset: Dataset, normalisation: Normalisation, placement: Placement, before: Mapping[str, Any]
) -> dict[str, Any]:
    """What is known before training, or before it goes on: of its first epochs the facts were those ``before``."""
    return {
        keys.PARAMETERS: sum(p.numel() for p in network.parameters()),
        "classes": len(dataset.classes),
        "shape": dataset.shape,
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std},
        "machine": describe_trial(placement, before),
        "precision": name_of(placement.precision),
        "channels_last": placement.channels_last,
    }


def _facts_before(folder: TrialFolder) -> dict[str, Any]:
    """The facts that the folder holds; none if they are damaged: they are about to be written anew."""
    try:
        return folder.facts()
    except StorageError as problem:
        _logger.warning("%s; it is written again, without how the epochs until now were computed", problem)
        return {}


def write_in_background(writer: BackgroundWriter, folder: TrialFolder, learner: Learner, record: Record) -> None:
    """Have the epoch that ``learner`` has finished written to ``folder``, beside the next one."""
    writer.wait()  # the state being written lies where the next one will
    state, best = learner.state_dict(), learner.best_weights if learner.best_epoch == record.epoch else None

    def write() -> None:
        folder.save_checkpoint(state)
        if best is not None:
            folder.save_best(best, record.epoch)
        folder.append(record)

    writer.start(write)


def _initial_network(spec: TrialSpec, dataset: Dataset) -> tuple[nn.Module, Placement]:
    """The network with weights that are a function of seed, variant and arguments alone, and where it is to compute.

    It is built twice: a user's file may seed or draw random numbers when it is first imported, at its top or from
    within a constructor, and what is built after that would differ between the first trial of a process and the next.
    The layout is tried with the first, whose state is of no further use.
    """

    def build() -> nn.Module:
        return build_network(spec.variant, spec.arguments, len(dataset.classes), dataset.shape)

    first, size = build(), spec.trainer.batch_size

    def works_channels_last() -> bool:  # tests hold that the built-in ones do
        return spec.variant in VARIANTS or not channels_last_problem(first, dataset.shape, size)

    placement = place(spec.trainer, first, works_channels_last)
    seed_everything(spec.seed, "weights")
    return build(), placement


def training_indices(spec: TrialSpec, dataset: Dataset) -> Tensor:
    """Which images of the training split, (M,) int64, the trial learns from."""
    return _split(spec, dataset)[0]


def _split(spec: TrialSpec, dataset: Dataset) -> tuple[Tensor, Split]:
    """Which images to learn from, and the images that choices are made by."""
    if spec.trainer.protocol == "published":
        return torch.arange(len(dataset.train)), dataset.test
    if dataset.validation is not None:
        return torch.arange(len(dataset.train)), dataset.validation
    training, validation = train_validation_indices(dataset.train.labels, spec.dataset.validation, spec.seed)
    return training, dataset.train.subset(validation)


def _normalisation(dataset: Dataset, learned: Tensor) -> Normalisation:
    """By the mean and standard deviation of the training images at ``learned``: (M,) int64."""
    if dataset.sums is None:
        return measure(dataset.train.images[learned])
    return from_sums(dataset.sums[learned], dataset.shape[1] * dataset.shape[2])


def _restore(learner: Learner, folder: TrialFolder, trained: bool) -> None:
    """Bring the learner and the folder to the newest whole checkpoint, or to the beginning if there is none.

    A trial that has ``trained`` to its end and is to be evaluated needs no more than its chosen weights.
    """
    state = folder.checkpoint()
    if state is not None:
        try:
            learner.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as problem:
            raise CheckpointError(f"{folder.path}: its checkpoint does not fit this trial: {problem}") from problem
        folder.save_best(learner.best_weights, learner.best_epoch)
    elif trained:
        chosen = checkpoint.load(folder.best)
        learner.records = [record for record in folder.records() if not record.final]
        learner.epoch = learner.records[-1].epoch
        learner.best_epoch, learner.best_weights = chosen["epoch"], chosen["network"]
        learner.best_accuracy = max(record.metrics[keys.VAL_ACCURACY] for record in learner.records)
    folder.restore_records(learner.records)
