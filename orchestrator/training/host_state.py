"""What a network keeps outside of its tensors: a recorded step would not see it change."""

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, str, bytes, type(None))
_MODULES_OWN = set(vars(nn.Module())) - {"training"}


def host_state_problem(network: nn.Module, use: Callable[[nn.Module], object]) -> str | None:
    """Why ``use(network)`` must run on the host every time, or None: it draws, counts or remembers there.

    Tried with a copy of the network, and no random state moves. What a network keeps elsewhere, in a global variable,
    is not seen.
    """
    try:
        copied = copy.deepcopy(network)
    except Exception as problem:  # whatever a user's network holds
        return f"the network cannot be copied ({type(problem).__name__}: {str(problem).partition(chr(10))[0]})"
    with random_states_kept():
        before, drawn = _attributes(copied), _random_states()
        use(copied)
        for source, state in _random_states().items():
            if drawn[source] != state:
                return f"the network draws random numbers on the host (from {source})"
        after = _attributes(copied)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            return f"the network changes {name}, which is neither a weight nor a buffer"
    return None


def _attributes(network: nn.Module) -> dict[str, Any]:
    """The attributes of a network's modules that are no weights, buffers or modules."""
    return {
        f"{name or type(network).__name__}.{key}": _mark(value)
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if key not in _MODULES_OWN
    }


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate(), "torch's on the CPU": torch.get_rng_state().tolist()}
    if "numpy" in sys.modules:
        states["numpy"] = repr(sys.modules["numpy"].random.get_state())
    return states


@contextmanager
def random_states_kept() -> Iterator[None]:
    """After this block every global random number generator is as it was before it."""
    python, numpy = random.getstate(), sys.modules.get("numpy")
    legacy = numpy.random.get_state() if numpy else None
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(legacy)


def _mark(value: Any) -> Any:
    """Something that is equal as long as ``value`` has not changed, as far as that can be seen cheaply."""
    if isinstance(value, Tensor):
        return id(value), None if value.is_inference() else value._version
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_mark(item) for item in value)
    if isinstance(value, dict):
        return tuple((_mark(key), _mark(item)) for key, item in value.items())
    return value if isinstance(value, _PLAIN) else id(value)
