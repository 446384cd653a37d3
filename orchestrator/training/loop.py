"""The training loop: one generator, one record an epoch."""

import logging
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
from orchestrator.training.cuda_graph import GraphedCallable, changing
from orchestrator.training.host_state import host_state_problem
from orchestrator.training.learner import Learner
from orchestrator.training.randomness import seed_everything
from orchestrator.training.step import Step
from orchestrator.training.system_metrics import SystemMetrics

_logger = logging.getLogger(__name__)

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
    learning_rate, device = learner.learning_rate, learner.placement.device
    tally = Tally(len(batches), device)

    def take(size: int) -> None:
        images, labels = batches.batch(size)
        learning_rate.set(batches.step)
        loss, right, updated = step(images, labels)
        if updated:
            learning_rate.after_batch()
        tally.add(batches.step, loss * size, right)
        batches.step.add_(1)

    take_step = recorded(take, learner, batches, tally, recipe)
    system_metrics = SystemMetrics(device)
    while learner.epoch < recipe.epochs and not reached(recipe, learner.best_accuracy):
        epoch, started = learner.epoch + 1, time.perf_counter()
        seed_everything(seed, epoch, "dropout")
        learner.network.train()
        batches.begin(epoch)
        learning_rate.begin_epoch()
        for size in batches.sizes:
            take_step(size)
        batches.prepare(epoch + 1)  # on the host, while the device still works
        train_loss, train_accuracy = summarise(tally, batches.images, epoch)
        trained = time.perf_counter()
        judged_loss, accuracy = evaluate(epoch)
        learning_rate.after_epoch(accuracy)
        metrics = {
            keys.TRAIN_LOSS: train_loss,
            keys.TRAIN_ACCURACY: train_accuracy,
            f"{evaluated}/loss": judged_loss,
            f"{evaluated}/accuracy": accuracy,
            keys.LR: learning_rate.used,
            keys.EPOCH_SECONDS: time.perf_counter() - started,
            keys.IMAGES_PER_SECOND: batches.images / (trained - started),
            **system_metrics.read(),
        }
        record = Record(epoch, time.time(), metrics)
        learner.keep(record, accuracy, judged_loss)
        yield record


def reached(recipe: Recipe, best_accuracy: float) -> bool:
    """Whether the recipe's target accuracy has been reached."""
    return recipe.stop_at_accuracy is not None and best_accuracy >= recipe.stop_at_accuracy


class Tally:
    """The loss and the number of right answers of every step of an epoch, on the device until it ends."""

    def __init__(self, steps: int, device: torch.device) -> None:
        # One place for each step, made before the first: thousands of scalars made among large tensors would keep the
        # memory between them from being used again.
        self.table = torch.zeros(2, steps, device=device)
        self._places = torch.arange(steps, device=device)

    def add(self, step: Tensor, loss: Tensor, right: Tensor) -> None:
        """Note the sum of the losses of one batch, (), and its right answers, (), at place ``step``, (1,) int64."""
        # Not by an index: torch's deterministic form of that sorts.
        self.table.copy_(torch.where(self._places == step, torch.stack([loss, right.float()])[:, None], self.table))


def summarise(tally: Tally, images: int, epoch: int) -> tuple[float, float]:
    """Mean loss and accuracy (fraction) of an epoch: the one moment at which the host waits for the device."""
    by_step, right = tally.table.cpu().double()
    total = float(by_step.sum())
    if not math.isfinite(total):
        step = int((~torch.isfinite(by_step)).nonzero()[0]) + 1
        raise DivergedError(f"the loss became {float(by_step[step - 1])}", f"epoch {epoch}, step {step}")
    return total / images, float(right.sum()) / images


def recorded(
    take: Callable[[int], None], learner: Learner, batches: Batches, tally: Tally, recipe: Recipe
) -> Callable[[int], None]:
    """``take`` as a CUDA graph, where there is CUDA and the recipe lets it."""
    rate = learner.learning_rate.on_device
    if learner.placement.device.type != "cuda" or not recipe.cuda_graph:
        return take
    if rate is None or not batches.is_on_device:
        reason = (
            "float16 and a momentum that moves with every batch are decided on the host"
            if rate is None
            else "images or their augmentation are on the host"
        )
        _logger.warning("the training step is not recorded as a CUDA graph: %s", reason)
        return take
    groups, moving = learner.optimizer.param_groups, ("momentum", "betas")

    def probe(size: int) -> str | None:
        images, _ = batches.batch(size)
        precision = learner.placement.precision
        with torch.no_grad(), torch.autocast("cuda", precision, enabled=precision != torch.float32):
            return host_state_problem(learner.network, lambda network: network(images))

    return GraphedCallable(
        "the training step",
        take,
        probe,
        learner.network,
        changing(learner.network, learner.optimizer, batches.step, tally.table, rate),
        lambda: [[group.get(name) for name in moving] for group in groups],
        recipe.deterministic,
    )
