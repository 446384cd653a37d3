"""A dataset as numpy arrays, which Ray stores once a node and maps, without copying, into every process."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from orchestrator.data.dataset import Dataset, Split


def pack(dataset: Dataset) -> dict[str, Any]:
    """The dataset as a dict of its name, its class names and the arrays (images, labels) of each split."""
    return {
        "name": dataset.name,
        "classes": dataset.classes,
        "train": (dataset.train.images.numpy(), dataset.train.labels.numpy()),
        "test": (dataset.test.images.numpy(), dataset.test.labels.numpy()),
    }


def unpack(packed: Mapping[str, Any]) -> Dataset:
    """The dataset again, on top of the mapped arrays."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
        train, test = (Split(*map(torch.from_numpy, packed[which])) for which in ("train", "test"))
    return Dataset(packed["name"], train, test, packed["classes"])
