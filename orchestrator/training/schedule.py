"""The recipe's learning-rate schedule: torch's own, told to the optimiser step by step or as a table on the device."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from orchestrator import spec

FOLLOWED = ("lr", "momentum", "betas")  # what a schedule may change of a parameter group


class LearningRate:
    """One of torch's schedules, stepped after every batch or after every epoch as its settings say.

    torch's scheduler moves an optimiser that holds nothing; the trial's own follows it. With ``on_device`` the rates of
    an epoch are a table there, written at its beginning, and :meth:`set` takes the one of a step.
    """

    def __init__(
        self, settings: spec.Schedule, optimizer: Optimizer, epochs: int, batches: int, on_device: bool = False
    ) -> None:
        self.settings, self.optimizer, self.batches = settings, optimizer, batches
        steps = settings.total_steps or epochs * (batches if settings.per_batch else 1)
        self._scheduled = _Scheduled([nn.Parameter(torch.zeros(()))], dict(optimizer.defaults))
        self.scheduler = _build(settings, self._scheduled, steps)
        self._scheduled.step()  # or torch warns that a rate moved before the first update
        self._last_step = steps
        self.used = self.value  # by the latest step
        self._table: Tensor | None = None
        self._rate: Tensor | None = None
        if on_device:
            device = next(p for group in optimizer.param_groups for p in group["params"]).device
            self._table, self._rate = torch.zeros(max(batches, 1), device=device), torch.zeros((), device=device)
        self._follow()

    @property
    def value(self) -> float:
        """The learning rate of the step that is next."""
        return float(self._scheduled.param_groups[0]["lr"])

    @property
    def on_device(self) -> Tensor | None:
        """The learning rate of the step that is being taken, () float32, where the device keeps it."""
        return self._rate

    def begin_epoch(self) -> None:
        """Before an epoch's first step: on the device, the rates of all of its steps."""
        if self._table is None:
            return
        rates = []
        for _ in range(self.batches):
            rates.append(self.value)
            if self.settings.per_batch:
                self._step()
        self._table.copy_(torch.tensor(rates, dtype=torch.float32))
        self.used = rates[-1]
        self._follow()

    def set(self, step: Tensor) -> None:
        """Before each update: the rate of the epoch's ``step``, (1,) int64, where the table is on the device."""
        if self._table is None or self._rate is None:
            self.used = self.value
        else:
            self._rate.copy_(self._table.index_select(0, step).squeeze(0))

    def after_batch(self) -> None:
        """To be called after every update."""
        if self.settings.per_batch and self._table is None:
            self._step()
            self._follow()

    def after_epoch(self, accuracy: float) -> None:
        """To be called after every epoch; ``accuracy`` (fraction) is what a plateau is judged by."""
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(accuracy)
        elif not self.settings.per_batch:
            self._step()
        self._follow()

    def _step(self) -> None:
        # A cycle that is over keeps its last rate: torch's OneCycleLR would raise, its cosine would rise again.
        if self.settings.name not in ("onecycle", "cosine") or self.scheduler.last_epoch < self._last_step - 1:
            self.scheduler.step()

    def _follow(self) -> None:
        """Let the optimiser go by what the schedule says now."""
        now = {name: value for name, value in self._scheduled.param_groups[0].items() if name in FOLLOWED}
        for group in self.optimizer.param_groups:
            group.update(now if self._rate is None else {**now, "lr": self._rate})

    def state_dict(self) -> dict[str, Any]:
        """Counters and current values only; the settings are the recipe's. OneCycleLR's function is left out."""
        state = self.scheduler.state_dict()
        serialisable = {k: v for k, v in state.items() if isinstance(v, (int, float, bool, str, list, type(None)))}
        group = self._scheduled.param_groups[0]
        return {**serialisable, "now": {k: list(v) if k == "betas" else v for k, v in group.items() if k in FOLLOWED}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` described."""
        counters = {k: v for k, v in state.items() if k != "now"}
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), **counters})
        now = state["now"]
        self._scheduled.param_groups[0].update(now | ({"betas": tuple(now["betas"])} if "betas" in now else {}))
        self._follow()


class _Scheduled(Optimizer):
    """What torch's schedulers move: the settings of an optimiser, without its work."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Nothing to update."""


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
