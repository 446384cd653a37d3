"""Stateless randomness: every random stream is a function of (seed, epoch, purpose), never of what ran before."""

import contextlib
import hashlib
import random

import torch


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on every part, and on their order."""
    content = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(content, "big") >> 1


def seed_everything(*parts: int | str) -> None:
    """Set the global state of torch, on the CPU and on every accelerator, of ``random`` and of numpy.

    A network may draw from any of them: weights, dropout, layers that are skipped at random.
    """
    seed = derive_seed(*parts)
    torch.manual_seed(seed)
    random.seed(seed)
    with contextlib.suppress(ImportError):  # a trial trains with torch alone
        import numpy as np

        np.random.seed(seed % 2**32)


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator of its own, for draws that must not touch the global state."""
    return torch.Generator().manual_seed(derive_seed(*parts))
