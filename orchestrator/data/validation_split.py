"""The validation split: a stratified part of the training images, held out by seed."""

import torch
from torch import Tensor

from orchestrator.errors import DataError


def fraction_problem(labels: Tensor, fraction: float) -> str | None:
    """Why no ``fraction`` of the training images with these ``labels``, (N,), can be held out, or None."""
    total, classes = len(labels), len(labels.unique())
    held_out = round(fraction * total)
    if 1 <= held_out <= total - classes:
        return None
    keep = f"with {classes} classes, each of which keeps one to learn from"
    possible = f"it must be from 1 to {total - classes}" if total > classes else "there is none to spare"
    return f"a validation fraction of {fraction:g} holds out {held_out} of {total} training images; {keep}, {possible}"


def train_validation_indices(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which images to learn from, and which to hold out.

    labels: (N,) int64. Returns two sorted int64 index tensors, disjoint and together complete; the second holds
    exactly ``round(fraction * N)`` images, shared among the classes in proportion by the method of largest
    remainders. Every class keeps a training image, and a class of two or more gives a validation image if there
    are enough to go round. A function of its arguments only; torch's global random state is not touched.
    Raises DataError if nothing would be held out, or if a class would have no image left to learn from.
    """
    labels = labels.cpu()
    if problem := fraction_problem(labels, fraction):
        raise DataError(problem)
    total = len(labels)
    held_out = round(fraction * total)
    _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sizes: list[int] = counts.tolist()
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    by_class = torch.split(order[classes[order].argsort(stable=True)], sizes)  # shuffled within each class
    shares = _shares(sizes, held_out)
    validation = torch.cat([members[:share] for members, share in zip(by_class, shares, strict=True)])
    training = torch.cat([members[share:] for members, share in zip(by_class, shares, strict=True)])
    return training.sort().values, validation.sort().values


def _shares(sizes: list[int], held_out: int) -> list[int]:
    """How many of each class to hold out; they add up to ``held_out``. Exact: integers only."""
    total = sum(sizes)
    most = [size - 1 for size in sizes]
    least = [min(1, limit) for limit in most]
    if sum(least) > held_out:
        least = [0] * len(sizes)
    shares = [min(max(size * held_out // total, low), high) for size, low, high in zip(sizes, least, most, strict=True)]

    def owed(c: int) -> int:
        """What class ``c`` still lacks of its exact proportion, in 1/total of an image."""
        return sizes[c] * held_out - shares[c] * total

    while sum(shares) < held_out:
        shares[max((c for c in range(len(sizes)) if shares[c] < most[c]), key=owed)] += 1
    while sum(shares) > held_out:
        shares[min((c for c in range(len(sizes)) if shares[c] > least[c]), key=owed)] -= 1
    return shares
