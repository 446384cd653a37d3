"""Everything that figures, tables and the page of one trial are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator import records as keys
from orchestrator.analysis import Analysis
from orchestrator.data import Augmentation
from orchestrator.data.dataset import Dataset
from orchestrator.records import Outcome, Record
from orchestrator.spec import TrialSpec

Curve = list[tuple[int, float]]  # (epoch, value)


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """One trial, however it ended; what it did not reach is None or empty."""

    spec: TrialSpec
    records: Sequence[Record]
    dataset: Dataset
    logits: Tensor | None  # (N_test, C) float32, of the test split, with the chosen weights
    network: nn.Module | None  # the chosen weights, in evaluation mode, on the CPU
    training_indices: Tensor  # (M,) int64, indices of the images in the training split that were trained on
    mean: tuple[float, ...]  # of the training images, per channel, as fractions of 255
    std: tuple[float, ...]
    augmentation: Augmentation | None
    analysis: Analysis | None
    published: Sequence[tuple[int, float]] = ()  # (epoch, published test accuracy as a fraction)
    outcome: Outcome | None = None

    @classmethod
    def untrained(
        cls, spec: TrialSpec, dataset: Dataset, learned: Tensor, analysis: Analysis | None
    ) -> "ReportContext":
        """What is known about a trial before it starts; ``learned`` are its training indices."""
        return cls(
            spec=spec,
            records=(),
            dataset=dataset,
            logits=None,
            network=None,
            training_indices=learned,
            mean=(),
            std=(),
            augmentation=None,
            analysis=analysis,
        )

    @property
    def analysed(self) -> Analysis:
        """The analysis of the trial's network. Raises ValueError if there is none."""
        if self.analysis is None:
            raise ValueError("the trial's network has not been analysed")
        return self.analysis

    @property
    def evaluated(self) -> str:
        """Which split is evaluated every epoch: ``val``, or ``test`` in the published protocol."""
        return "test" if self.spec.trainer.protocol == "published" else "val"

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.dataset.classes

    @cached_property
    def final(self) -> Mapping[str, float]:
        """The metrics of the final record; empty if the trial did not get there."""
        return next((record.metrics for record in reversed(self.records) if record.final), {})

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics that an epoch has, in the order of the records."""
        names = (name for record in self.records if not record.final for name in record.metrics)
        return tuple(dict.fromkeys(names))

    def curve(self, key: str) -> Curve:
        """A metric by epoch, in order; epochs without it are omitted."""
        return sorted({r.epoch: r.metrics[key] for r in self.records if not r.final and key in r.metrics}.items())

    @cached_property
    def epochs(self) -> int:
        """Epochs with a record."""
        return len({record.epoch for record in self.records if not record.final})

    @cached_property
    def chosen_epoch(self) -> int | None:
        """The epoch whose weights were kept: as recorded, or else, as the trainer keeps them, the best so far.

        Of equally accurate epochs that is the one of least loss, and the earliest of those; None without any epoch.
        """
        if keys.BEST_EPOCH in self.final:
            return int(self.final[keys.BEST_EPOCH])
        losses = dict(self.curve(f"{self.evaluated}/loss"))
        found = self.curve(f"{self.evaluated}/accuracy")
        return max(found, key=lambda point: (point[1], -losses.get(point[0], 0.0), -point[0]), default=(None, 0.0))[0]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N_test,) true classes of the test split."""
        return np.asarray(self.dataset.test.labels.numpy())

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(N_test, C) softmax of the logits. Raises ValueError where there are none."""
        if self.logits is None:
            raise ValueError("the trial has no predictions of the test split")
        return np.asarray(self.logits.double().softmax(dim=1).numpy())

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(N_test,) the class with the largest probability."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidences(self) -> NDArray[np.float64]:
        """(N_test,) the largest probability of each image."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(N_test,) whether the predicted class is the true one."""
        return np.asarray(self.predicted == self.labels)

    def test_image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) of the test split."""
        return as_image(self.dataset.test.images[index])


def as_image(image: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) or, grey, (1, H, W), 0 to 255, as (H, W, 3) uint8."""
    return np.asarray(image.expand(3, -1, -1).clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy())
