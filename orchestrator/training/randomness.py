"""Stateless randomness: every random stream is a function of (seed, epoch, purpose), never of what ran before."""

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on every part, and on their order."""
    content = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(content, "big") >> 1


def seed_everything(*parts: int | str) -> None:
    """Set torch's global state (weights, dropout) on the CPU and on every accelerator."""
    torch.manual_seed(derive_seed(*parts))


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator of its own, for draws that must not touch the global state."""
    return torch.Generator().manual_seed(derive_seed(*parts))
