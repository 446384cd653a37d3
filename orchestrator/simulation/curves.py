"""Learning curves: what a simulated trial would report, epoch by epoch, and how good its settings truly are."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.spec import TrialSpec

DRAWS = 256  # of the noise, by which it is known what is measured on average
TEST_IMAGES = 10_000  # test accuracies are multiples of one in this many


@dataclass(frozen=True)
class Curve:
    """One trial's curve; accuracies are fractions, the first is that of epoch 1."""

    validation: Sequence[float]
    test: Sequence[float]  # what the weights of each epoch would reach on the test split
    seconds: float  # of an epoch, evaluation included
    truth: float  # what the variant with these settings reaches on average over seeds, at the last epoch
    measurable: float  # what is measured of it on average over seeds, which a verdict is held against

    def measured(self, epochs: int) -> float:
        """The test accuracy after ``epochs`` epochs: of the epoch with the best validation accuracy."""
        return self.test[int(np.argmax(self.validation[:epochs]))]


class Curves(Protocol):
    """Where the curves come from. The curve of a trial depends on its specification only."""

    @property
    def description(self) -> str:
        """Where they come from, in words for the user."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of them, one line each."""

    def curve(self, spec: TrialSpec) -> Curve:
        """The curve of a trial, over all of its epochs."""

    def best(self, spec: TrialSpec) -> float | None:
        """The truth of the best settings there are for the variant of ``spec``; None where that is unknown."""


def stream(*parts: Any) -> np.random.Generator:
    """Random numbers that depend on ``parts``, JSON values, and on nothing else."""
    text = json.dumps(parts, sort_keys=True)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def measurable(curve: NDArray[np.float64], noise: float) -> float:
    """What is measured on average of trials whose accuracies are ``curve`` without ``noise``, its standard deviation.

    A trial is measured at the epoch with its best validation accuracy, which need not be the last, nor that of the best
    accuracy. The noise is the same for every curve, so that equal curves have equal results.
    """
    shown = np.clip(curve, 0.0, 1.0)
    return float(shown[np.clip(curve + noise * _draws(len(curve)), 0.0, 1.0).argmax(axis=1)].mean())


@cache
def _draws(epochs: int) -> NDArray[np.float64]:
    """(DRAWS, epochs), standard normal."""
    return stream("measurable", epochs).standard_normal((DRAWS, epochs))


def rounded(accuracies: NDArray[np.float64]) -> list[float]:
    """Accuracies as a test split would show them: multiples of 1 / 10,000, between 0 and 1."""
    found: list[float] = (np.round(np.clip(accuracies, 0.0, 1.0) * TEST_IMAGES) / TEST_IMAGES).tolist()
    return found
