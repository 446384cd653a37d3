"""The training loop: one generator, one record an epoch."""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from orchestrator import records as keys
from orchestrator.errors import DivergedError
from orchestrator.records import Record
from orchestrator.spec import Recipe
from orchestrator.training.batches import Batches
from orchestrator.training.learner import Learner
from orchestrator.training.randomness import seed_everything
from orchestrator.training.step import Step
from orchestrator.training.usage import Usage

# The loss and the accuracy (fraction) after an epoch, on the split that choices are made by.
Evaluate = Callable[[int], tuple[float, float]]


def fit(
    learner: Learner, step: Step, batches: Batches, evaluate: Evaluate, recipe: Recipe, seed: int
) -> Iterator[Record]:
    """Train from ``learner.epoch`` to the recipe's last epoch or its target accuracy; yield one record an epoch.

    When a record is yielded the learner already counts its epoch, so that this is the moment to save it.
    Raises DivergedError, naming epoch and step, if a loss is not finite; ``evaluate`` may raise it as well.
    """
    evaluated = "test" if recipe.protocol == "published" else "val"
    usage = Usage(learner.placement.device)
    while learner.epoch < recipe.epochs and not reached(recipe, learner.best_accuracy):
        epoch, started = learner.epoch + 1, time.perf_counter()
        seed_everything(seed, epoch, "dropout")
        learner.network.train()
        # One place for each step, made before the first: thousands of scalars made among large tensors would keep the
        # memory between them from being used again.
        losses, hits = torch.zeros(2, len(batches), device=learner.placement.device)
        for position, (pictures, labels) in enumerate(batches.epoch(epoch)):
            loss, right, updated = step(pictures, labels)
            losses[position] = loss * len(labels)
            hits[position] = right
            lr = learner.learning_rate.value
            if updated:
                learner.learning_rate.after_batch()
        train_loss, train_accuracy = summarise(losses, hits, batches.images, epoch)
        trained = time.perf_counter()
        judged_loss, accuracy = evaluate(epoch)
        learner.learning_rate.after_epoch(accuracy)
        metrics = {
            keys.TRAIN_LOSS: train_loss,
            keys.TRAIN_ACCURACY: train_accuracy,
            f"{evaluated}/loss": judged_loss,
            f"{evaluated}/accuracy": accuracy,
            keys.LR: lr,
            keys.EPOCH_SECONDS: time.perf_counter() - started,
            keys.IMAGES_PER_SECOND: batches.images / (trained - started),
            **usage.read(),
        }
        record = Record(epoch, time.time(), metrics)
        learner.keep(record, accuracy, judged_loss)
        yield record


def reached(recipe: Recipe, best_accuracy: float) -> bool:
    """Whether the recipe's target accuracy has been reached."""
    return recipe.stop_at_accuracy is not None and best_accuracy >= recipe.stop_at_accuracy


def summarise(losses: Tensor, hits: Tensor, images: int, epoch: int) -> tuple[float, float]:
    """Mean loss and accuracy (fraction) of an epoch: the one moment at which the host waits for the device.

    losses and hits: (steps,) float32, the sums over each batch.
    """
    by_step, right = torch.stack([losses, hits]).cpu().double()
    total = float(by_step.sum())
    if not math.isfinite(total):
        step = int((~torch.isfinite(by_step)).nonzero()[0]) + 1
        raise DivergedError(f"the loss became {float(by_step[step - 1])}", f"epoch {epoch}, step {step}")
    return total / images, float(right.sum()) / images
