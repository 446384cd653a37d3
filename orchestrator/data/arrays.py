"""A dataset as numpy arrays, which Ray stores once a node and maps, without copying, into every process."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from orchestrator.data.dataset import Dataset, Split
from orchestrator.data.normalisation import pixel_sums


def to_arrays(dataset: Dataset) -> dict[str, Any]:
    """The dataset as a dict of its name, its class names and the arrays (images, labels) of each split.

    With the sums by which every trial normalises what it learns from: worked out here, once for all of them.
    """
    sums = pixel_sums(dataset.train.images) if dataset.sums is None else dataset.sums
    return {
        "name": dataset.name,
        "classes": dataset.classes,
        "train": (dataset.train.images.numpy(), dataset.train.labels.numpy()),
        "test": (dataset.test.images.numpy(), dataset.test.labels.numpy()),
        "validation": None if (own := dataset.validation) is None else (own.images.numpy(), own.labels.numpy()),
        "sums": sums.numpy(),
    }


def from_arrays(arrays: Mapping[str, Any]) -> Dataset:
    """The dataset again, on top of the mapped arrays."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
        train, test = (Split(*map(torch.from_numpy, arrays[which])) for which in ("train", "test"))
        own = arrays["validation"]
        validation = None if own is None else Split(*map(torch.from_numpy, own))
        sums = torch.from_numpy(arrays["sums"])
    return Dataset(arrays["name"], train, test, arrays["classes"], validation, sums=sums)
