"""The training loop: one generator, one record an epoch."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from orchestrator import records as keys
from orchestrator.errors import DivergedError
from orchestrator.records import Record
from orchestrator.spec import Recipe
from orchestrator.training.batches import Batches
from orchestrator.training.cuda_graph import GraphedCallable
from orchestrator.training.host_state import host_state_problem
from orchestrator.training.learner import Learner
from orchestrator.training.metrics import TRAINING
from orchestrator.training.randomness import seed_everything
from orchestrator.training.step import Step
from orchestrator.training.system_metrics import SystemMetrics

_logger = logging.getLogger(__name__)

# The metrics of EVALUATION after an epoch, by name, on the split that choices are made by.
Evaluate = Callable[[int], Mapping[str, float]]


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
        sums, updated = step(images, labels)
        if updated:
            learning_rate.after_batch()
        tally.add(batches.step, sums)
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
        trained_on = summarise(tally, batches.images, epoch)
        trained = time.perf_counter()
        judged = evaluate(epoch)
        learning_rate.after_epoch(judged["accuracy"])
        metrics = {
            **keys.of_split("train", trained_on),
            **keys.of_split(evaluated, judged),
            keys.LR: learning_rate.used,
            keys.EPOCH_SECONDS: time.perf_counter() - started,
            keys.IMAGES_PER_SECOND: batches.images / (trained - started),
            **system_metrics.read(),
        }
        record = Record(epoch, time.time(), metrics)
        learner.keep(record, judged["accuracy"], judged["loss"])
        yield record


def reached(recipe: Recipe, best_accuracy: float) -> bool:
    """Whether the recipe's target accuracy has been reached."""
    return recipe.stop_at_accuracy is not None and best_accuracy >= recipe.stop_at_accuracy


class Tally:
    """The sums of every metric of ``TRAINING`` of every step of an epoch, on the device until it ends."""

    def __init__(self, steps: int, device: torch.device) -> None:
        # One place for each step, made before the first: thousands of scalars made among large tensors would keep the
        # memory between them from being used again.
        self.table = torch.zeros(len(TRAINING), steps, device=device)
        self._places = torch.arange(steps, device=device)

    def add(self, step: Tensor, sums: Tensor) -> None:
        """Note the ``sums`` of one batch, (metrics,) float32, at place ``step``, (1,) int64."""
        # Not by an index: torch's deterministic form of that sorts.
        self.table.copy_(torch.where(self._places == step, sums[:, None], self.table))


def summarise(tally: Tally, images: int, epoch: int) -> dict[str, float]:
    """Means over the images of an epoch, by metric: the one moment at which the host waits for the device.

    A metric whose mean is not a number is absent. Raises DivergedError if that is the loss.
    """
    by_step = dict(zip(TRAINING, tally.table.cpu().double(), strict=True))
    losses = by_step["loss"]
    if not math.isfinite(float(losses.sum())):
        step = int((~torch.isfinite(losses)).nonzero()[0]) + 1
        raise DivergedError(f"the loss became {float(losses[step - 1])}", f"epoch {epoch}, step {step}")
    means = {name: float(sums.sum()) / images for name, sums in by_step.items()}
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


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
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            return host_state_problem(learner.network, lambda network: network(images))

    return GraphedCallable(
        "the training step",
        take,
        probe,
        learner.network,
        (batches.step, tally.table, rate),
        learner.optimizer,
        lambda: [[group.get(name) for name in moving] for group in groups],
        recipe.deterministic,
        period=lambda: learner.epoch,
    )
