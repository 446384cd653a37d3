"""Everything that changes while a network learns, and how to save it and take it up again to the bit."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from orchestrator.errors import CheckpointError
from orchestrator.records import Record
from orchestrator.spec import Recipe
from orchestrator.training.device import Placement
from orchestrator.training.optimizers import build_optimizer, start_at_rest
from orchestrator.training.prepare import prepare
from orchestrator.training.schedule import LearningRate
from orchestrator.training.snapshot import snapshot
from orchestrator.training.weights import load_weights, no_plain_data

CARRIED_OUT = ("fused", "foreach", "capturable")  # how an optimiser works on this device; not what it does


@dataclass
class Learner:
    """A network with its optimiser and counters, after ``epoch`` whole epochs."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: LearningRate
    scaler: torch.amp.GradScaler
    placement: Placement
    epoch: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0  # fraction, on the split that choices are made by
    best_loss: float = math.inf  # on the same split; decides between epochs of equal accuracy
    best_weights: dict[str, Any] = field(default_factory=dict)  # tensors, and what else a state dict holds
    records: list[Record] = field(default_factory=list)
    _best_before: dict[str, Any] = field(default_factory=dict)  # memory for the next best weights
    _written: dict[str, Any] = field(default_factory=dict)  # memory for the next state

    @classmethod
    def build(cls, network: nn.Module, recipe: Recipe, placement: Placement, batches: int) -> "Learner":
        """A learner at epoch 0; ``batches`` is the number of optimiser steps of one epoch."""
        device = placement.device
        prepare(network, placement)
        optimizer = build_optimizer(recipe.optimizer, network.parameters(), device)
        scaler = torch.amp.GradScaler(device.type, enabled=placement.precision == torch.float16)
        momentum_moves = recipe.schedule.cycle_momentum and recipe.schedule.per_batch  # which stays on the host
        on_device = device.type == "cuda" and not scaler.is_enabled() and not momentum_moves
        learning_rate = LearningRate(recipe.schedule, optimizer, recipe.epochs, batches, on_device)
        if isinstance(optimizer, torch.optim.SGD):  # again: a schedule may have given it its momentum
            start_at_rest(optimizer)
        return cls(network, optimizer, learning_rate, scaler, placement)

    def keep(self, record: Record, accuracy: float, loss: float) -> None:
        """Count a finished epoch, and keep its weights if it is the most accurate; of equals, the one of least loss."""
        self.epoch = record.epoch
        self.records.append(record)
        if (accuracy, -loss) > (self.best_accuracy, -self.best_loss):
            self.best_epoch, self.best_accuracy, self.best_loss = record.epoch, accuracy, loss
            fresh = snapshot(self._network_state(), self._best_before)
            self.best_weights, self._best_before = fresh, self.best_weights

    def _network_state(self) -> dict[str, Any]:
        """Weights, buffers and what else the network keeps. Raises CheckpointError if that is no plain data."""
        state = self.network.state_dict()
        if problem := no_plain_data(state, "the network's state_dict"):
            raise CheckpointError(problem)
        return state

    def weights(self) -> dict[str, Any]:
        """A copy of the network's weights and buffers, on the CPU."""
        return dict(snapshot(self._network_state()))

    def state_dict(self) -> dict[str, Any]:
        """At an epoch's end: all that a later process needs to go on as if nothing had happened.

        It is a copy, on the CPU, and stays as it is while the next epoch trains; the next call overwrites it. After the
        best epoch the network's weights are the best weights: the same tensors, which are stored once.
        """
        is_best = self.best_epoch == self.epoch
        changing = {
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({} if is_best else {"network": self._network_state()}),
        }
        self._written |= snapshot(changing, self._written)
        return {
            **self._written,
            "epoch": self.epoch,
            "network": self.best_weights if is_best else self._written["network"],
            "best": {
                "epoch": self.best_epoch,
                "accuracy": self.best_accuracy,
                "loss": self.best_loss,
                "weights": self.best_weights,
            },
            "records": [record.to_json() for record in self.records],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` described. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        load_weights(self.network, state["network"])
        carried_out = [{k: group[k] for k in CARRIED_OUT if k in group} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, how in zip(self.optimizer.param_groups, carried_out, strict=True):
            group.update(how)
        self.learning_rate.load_state_dict(state["learning_rate"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch = state["epoch"]
        self.best_epoch = state["best"]["epoch"]
        self.best_accuracy = state["best"]["accuracy"]
        self.best_loss = state["best"]["loss"]
        self.best_weights = state["best"]["weights"]
        self.records = [Record.from_json(entry) for entry in state["records"]]
