"""Images a second of one core: the training loop against the published pipeline. Run: python benchmarks/hot_loop.py.

The cost is processor time, of one thread on either side: what a core has to do for an image, whoever else is busy.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import torch
from common import Comparison, Side, arguments, interleaved, pictures, report, seconds_of
from published import SETTINGS, Pipeline, recipe

from orchestrator.architectures import VARIANTS, build_network
from orchestrator.data import Split, build_augmentation, measure
from orchestrator.records import Record
from orchestrator.training.batches import Batches
from orchestrator.training.device import place
from orchestrator.training.learner import Learner
from orchestrator.training.loop import fit
from orchestrator.training.process import training_process
from orchestrator.training.step import build_step

MUST_REACH = 2.5  # times less, geometric mean over the variants
EACH_MUST_REACH = 2.2
IMAGES = 512  # of one measurement: at least four whole batches
UNIT = "processor milliseconds an image"


def ours(variant: str, images: int, data_dir: Path | None) -> float:
    """Milliseconds that a thread works for one image, in our loop."""
    epoch = _our_epoch(variant, images, data_dir)
    return _cost(epoch, images)


def theirs(variant: str, images: int, data_dir: Path | None) -> float:
    """The same in the published pipeline; the DataLoader works in the same process and thread."""
    pipeline = _their_pipeline(variant, images, data_dir)
    return _cost(pipeline.train, images)


def _cost(work: Callable[[], object], images: int) -> float:
    return seconds_of(work, clock=time.process_time) / images * 1e3


@cache
def _our_epoch(variant: str, images: int, data_dir: Path | None) -> Callable[[], object]:
    """A function that trains one more epoch each time it is called."""
    settings = recipe(variant, epochs=1_000_000)
    torch.manual_seed(0)
    network = build_network(variant)
    placement = place(settings, network)
    split = Split(*pictures(images, data_dir))
    normalisation = measure(split.images)
    augmentation = build_augmentation(
        settings.augmentation, seed=0, mean=normalisation.mean, shape=(3, 32, 32), engine="compiled"
    )
    indices = torch.arange(images)
    batches = Batches(split, indices, settings.batch_size, 0, augmentation, normalisation, placement)
    learner = Learner.build(network, settings, placement, len(batches))

    def records() -> Iterator[Record]:
        with training_process(settings):
            yield from fit(learner, build_step(learner, settings), batches, evaluate, settings, seed=0)

    def evaluate(_: int) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": 0.1}

    training = records()
    return lambda: next(training)


@cache
def _their_pipeline(variant: str, images: int, data_dir: Path | None) -> Pipeline:
    return Pipeline(variant, *pictures(images, data_dir), SETTINGS[variant])


def main() -> int:
    """Every variant with its published batch size and optimiser, on both sides."""
    flags = arguments(__doc__ or "", variants=list(VARIANTS), data=True)
    sides, comparisons = (Side(), Side()), []
    for variant in flags.variants:
        images = max(IMAGES // SETTINGS[variant][0], 1) * SETTINGS[variant][0]
        given = (variant, images, flags.data_dir)
        costs = interleaved(partial(sides[0].call, ours, *given), partial(sides[1].call, theirs, *given), flags.repeats)
        comparisons.append(Comparison(variant, *costs, UNIT, EACH_MUST_REACH))
    for side in sides:
        side.close()
    return report("hot_loop", comparisons, must_reach=MUST_REACH, as_json=flags.json)


if __name__ == "__main__":
    sys.exit(main())
