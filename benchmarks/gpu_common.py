"""What the parts of the GPU benchmark share: the setting, images to train on, and one trial timed epoch by epoch."""

import json
import logging
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import gpu_path  # noqa: F401
import torch

from orchestrator.architectures import VARIANTS
from orchestrator.data import Dataset, Split
from orchestrator.errors import ResourceError
from orchestrator.records import Record
from orchestrator.spec import DatasetSpec, Optimizer, Recipe, Schedule, TrialSpec
from orchestrator.trial.run import run_trial

NO_TIME = "no time left"
LIGHT = (
    {"HorizontalFlip": {"p": 0.5}},
    {"ShiftScaleRotate": {"shift_limit": 0.1, "scale_limit": 0.05, "rotate_limit": 5, "p": 0.7}},
    {
        "CoarseDropout": {
            "num_holes_range": [1, 1],
            "hole_height_range": [8, 8],
            "hole_width_range": [8, 8],
            "fill": "mean",
            "p": 0.5,
        }
    },
)


@dataclass(frozen=True)
class Setting:
    """What the command line asked for."""

    device: str
    smoke: bool
    deadline: float  # of time.monotonic
    data: Path | None
    workers: int
    out: Path

    def note(self, part: str, result: object) -> None:
        """Write what a part has so far, which stays if it is cut off."""
        partial = self.out / f"{part}.partial.json"
        partial.write_text(json.dumps(result, indent=1, default=str))
        partial.replace(self.out / f"{part}.json")

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    @property
    def variants(self) -> list[str]:
        """All of them; one where everything is small."""
        return ["grouped_concat"] if self.smoke else list(VARIANTS)


@cache
def random_images(train: int, test: int = 100, validation: int = 0) -> Dataset:
    """Random images with random labels, of CIFAR-10's shape."""
    stream = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=stream)
        return Split(images, torch.randint(0, 10, (count,), generator=stream))

    classes = tuple("abcdefghij")
    return Dataset("random", split(train), split(test), classes, split(validation) if validation else None)


def recipe(device: str, **changes: object) -> Recipe:
    """The recipe that speed is measured with; ``changes`` are fields of the recipe."""
    settings = Recipe(
        epochs=4,
        batch_size=256,
        optimizer=Optimizer(name="sgd", lr=0.1, nesterov=True),
        schedule=Schedule(name="onecycle", warmup=0.2),
        augmentation=LIGHT,
        label_smoothing=0.05,
        device=device,  # type: ignore[arg-type]
        threads=1,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def spec(variant: str, settings: Recipe, seed: int = 0) -> TrialSpec:
    """A trial on whatever dataset it is handed."""
    return TrialSpec(variant=variant, seed=seed, dataset=DatasetSpec(validation=0.1), trainer=settings)


def epochs(trial: TrialSpec, dataset: Dataset, folder: Path | None = None) -> Generator[Record]:
    """The records of a trial, in a folder of its own that goes with it."""
    with tempfile.TemporaryDirectory(prefix="gpu-") as made:
        yield from run_trial(trial, dataset, folder or Path(made) / "trial", measure=False)


@contextmanager
def served(setting: Setting) -> Iterator[dict[str, str]]:
    """The variables of an MPS daemon of our own; none where it cannot be had."""
    from orchestrator.sharing import mps

    with ExitStack() as stack:
        environment: dict[str, str] = {}
        if setting.device == "cuda" and mps.unavailable() is None:
            try:
                environment = stack.enter_context(mps.daemon())
            except ResourceError as problem:
                print(problem, flush=True)
        yield environment


def refusals(said: Iterable[str]) -> list[str]:
    """Which of the warnings say that something was computed that could have been recorded, and why."""
    return [line for line in said if "is not recorded as a CUDA graph" in line]


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile, such as why something is not recorded."""
    kept: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())

    handler, logger = Keep(), logging.getLogger("orchestrator")
    logger.addHandler(handler)
    try:
        yield kept
    finally:
        logger.removeHandler(handler)
