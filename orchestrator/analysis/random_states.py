"""The random number generators that a network may draw from on the host: torch's, Python's and numpy's."""

import random
import sys
from collections.abc import Callable

import torch


def remembered_random_states() -> Callable[[], None]:
    """A function that brings these generators back to where they are now."""
    drawn, python, numpy = torch.get_rng_state(), random.getstate(), sys.modules.get("numpy")
    legacy = numpy.random.get_state() if numpy else None

    def bring_back() -> None:
        torch.set_rng_state(drawn)
        random.setstate(python)
        if numpy:
            numpy.random.set_state(legacy)

    return bring_back
