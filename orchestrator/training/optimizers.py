"""The recipe's optimiser and learning-rate schedule: torch's own, and Muon."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from orchestrator import spec
from orchestrator.training.muon import Muon


def build_optimizer(settings: spec.Optimizer, parameters: Iterable[nn.Parameter], fused: bool) -> Optimizer:
    """The optimiser of the given settings; ``fused`` does the whole update in one kernel where torch can."""
    s = settings
    if s.name == "sgd":
        return torch.optim.SGD(
            parameters, s.lr, s.momentum, weight_decay=s.weight_decay, nesterov=s.nesterov, fused=fused
        )
    if s.name == "rmsprop":
        return torch.optim.RMSprop(parameters, s.lr, s.alpha, s.eps, s.weight_decay, momentum=s.momentum, foreach=True)
    if s.name == "muon":
        return Muon(parameters, s.lr, s.momentum, (s.beta1, s.beta2), s.eps, s.weight_decay)
    kind = torch.optim.AdamW if s.name == "adamw" else torch.optim.Adam
    return kind(parameters, s.lr, (s.beta1, s.beta2), s.eps, s.weight_decay, fused=fused)


def start_at_rest(optimizer: Optimizer) -> None:
    """Give SGD's momentum its zeros before the first step.

    The fused kernel would make room for it at the first step and, if a scaled gradient overflows there, leave in that
    room whatever lay in memory.
    """
    for group in optimizer.param_groups:
        if isinstance(optimizer, torch.optim.SGD) and group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


class LearningRate:
    """One of torch's schedules, stepped after every batch or after every epoch as its settings say."""

    def __init__(self, settings: spec.Schedule, optimizer: Optimizer, epochs: int, batches: int) -> None:
        self.settings = settings
        self.optimizer = optimizer
        steps = settings.total_steps or epochs * (batches if settings.per_batch else 1)
        self.scheduler = _build(settings, optimizer, steps)
        self._last_step = steps

    @property
    def value(self) -> float:
        """The first parameter group's learning rate, now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_batch(self) -> None:
        """To be called after every optimiser step."""
        if self.settings.per_batch:
            self._step()

    def after_epoch(self, accuracy: float) -> None:
        """To be called after every epoch; ``accuracy`` (fraction) is what a plateau is judged by."""
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(accuracy)
        elif not self.settings.per_batch:
            self._step()

    def _step(self) -> None:
        # A cycle that is over keeps its last rate: torch's OneCycleLR would raise, its cosine would rise again.
        if self.settings.name not in ("onecycle", "cosine") or self.scheduler.last_epoch < self._last_step - 1:
            self.scheduler.step()

    def state_dict(self) -> dict[str, object]:
        """Counters only; the settings are the recipe's. OneCycleLR also keeps a function, which is left out."""
        state = self.scheduler.state_dict()
        return {k: v for k, v in state.items() if isinstance(v, (int, float, bool, str, list, type(None)))}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take up the counters of :meth:`state_dict`."""
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), **state})


def _build(s: spec.Schedule, optimizer: Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    if s.name == "onecycle":
        peak = s.max_lr or float(optimizer.param_groups[0]["lr"])
        total = max(steps, 2)
        # torch divides by the steps between the first rate and the peak: where the first step is the peak, by 0.
        warmup = (1 - 1e-9) / total if math.isclose(s.warmup * total, 1) else s.warmup
        return lr_scheduler.OneCycleLR(
            optimizer,
            peak,
            total_steps=total,
            pct_start=warmup,
            anneal_strategy=s.anneal,
            cycle_momentum=s.cycle_momentum,
            div_factor=s.div_factor,
            final_div_factor=s.final_div_factor,
        )
    if s.name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1), s.min_lr)
    if s.name == "exponential":
        return lr_scheduler.ExponentialLR(optimizer, s.gamma)
    if s.name == "step":
        return lr_scheduler.StepLR(optimizer, s.step_size, s.gamma)
    if s.name == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, "max", s.gamma, s.patience, threshold=0.0, threshold_mode="abs", min_lr=s.min_lr
        )
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=math.ceil(steps))
