"""The compiled augmentation against Albumentations, processor time. Run: python benchmarks/augment.py [--json]."""

import sys
from time import process_time

import cv2
import torch
from common import arguments, run_benchmark, seconds_of
from published import PIPELINE

from orchestrator.data.augment.build import build_augmentation
from orchestrator.data.augment.library import LibraryAugmentation

MUST_REACH = 7.0  # times less time an image
BATCH = 128  # images; a recipe's default
BATCHES = 20  # of ours in one measurement
IMAGES = 1000  # of theirs in one measurement
SHAPE = (3, 32, 32)


def main() -> int:
    """Both sides get uint8 pictures in the layout they like best; Albumentations is not asked to reseed itself."""
    flags = arguments(__doc__ or "")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    pictures = torch.randint(0, 256, (IMAGES, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch, indices = pictures[:BATCH], torch.arange(BATCH)
    compiled = build_augmentation(PIPELINE, seed=0, mean=(0.5, 0.5, 0.5), shape=SHAPE, engine="compiled")
    compose = LibraryAugmentation(PIPELINE, seed=0).compose
    arrays = list(pictures.permute(0, 2, 3, 1).contiguous().numpy())

    def ours() -> float:
        epochs = iter(range(BATCHES))
        return (
            seconds_of(lambda: compiled(batch, indices, next(epochs)), times=BATCHES, clock=process_time) / BATCH * 1e6
        )

    def theirs() -> float:
        remaining = iter(arrays)
        return seconds_of(lambda: compose(image=next(remaining)), times=IMAGES, clock=process_time) * 1e6

    return run_benchmark(
        "augment",
        ours,
        theirs,
        unit="processor microseconds an image",
        must_reach=MUST_REACH,
        repeats=flags.repeats,
        as_json=flags.json,
    )


if __name__ == "__main__":
    sys.exit(main())
