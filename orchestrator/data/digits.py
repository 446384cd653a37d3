"""The digits data set: 1,797 handwritten digits that scikit-learn ships, so that something runs everywhere."""

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.pictures import resize
from orchestrator.data.reading import require
from orchestrator.data.split import train_validation_indices

IMAGE_SIZE = 32  # pixels: the 8 × 8 originals are too small for networks made for CIFAR-10
TEST_PICTURES = 360  # 20 %
TEST_SEED = 0  # the split is part of the data set: it never depends on a trial's seed


def load_digits(image_size: int | None = None) -> Dataset:
    """1,437 training and 360 test pictures, stratified; ``image_size`` (pixels) null means 32.

    The values 0 to 16 are scaled to 0 to 255 before resizing. Raises DataError if scikit-learn is missing.
    """
    datasets = require("sklearn.datasets", "scikit-learn", "the digits data set")
    digits = datasets.load_digits()
    grey = torch.from_numpy(digits.images).unsqueeze(1) * (255 / 16)  # (1797, 1, 8, 8)
    images = resize(grey, image_size or IMAGE_SIZE).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target).long()
    train, test = train_validation_indices(labels, TEST_PICTURES / len(labels), TEST_SEED)
    whole = Split(images, labels)
    return Dataset("digits", whole.subset(train), whole.subset(test), tuple("0123456789"))
