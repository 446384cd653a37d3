"""What a network keeps outside of its tensors: a recorded step would not see it change."""

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from orchestrator.analysis.random_states import remembered_random_states
from orchestrator.training.object_state import Same, UnreadableError, state_of

REGISTERED = {"_parameters": "parameter", "_buffers": "buffer", "_modules": "module"}  # where a module keeps what


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
        before = HostState(copied)
        use(copied)
        return before.change() or before.draws()


class HostState:
    """What the host knows of a network, to be compared later."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.registered, self.drawn = _registered(network), _random_states()
        self.problem: str | None = None
        try:
            self.attributes = _attributes(network)
        except UnreadableError as problem:
            self.problem = str(problem)

    def change(self) -> str | None:
        """What has changed since, as the reason why it cannot be recorded; values of parameters and buffers may."""
        if self.problem is not None:
            return self.problem
        now = _registered(self.network)
        for name in sorted(self.registered.keys() | now.keys()):
            if self.registered.get(name) != now.get(name):
                kind, place = name
                return f"the network makes or replaces the {kind} {place}, which must be changed in place"
        try:
            after = _attributes(self.network)
        except UnreadableError as problem:
            return str(problem)
        for attribute in sorted(self.attributes.keys() | after.keys()):
            if self.attributes.get(attribute) != after.get(attribute):
                return f"the network changes {attribute}, which is neither a weight nor a buffer"
        return None

    def draws(self) -> str | None:
        """From what random numbers were drawn since, as the reason why it cannot be recorded."""
        for source, state in _random_states().items():
            if self.drawn.get(source) != state:
                return f"the network draws random numbers on the host (from {source})"
        return None


def _registered(network: nn.Module) -> dict[tuple[str, str], Same]:
    """Parameters, buffers and modules, by kind and name; None where a name is registered and nothing is there yet."""
    return {
        (kind, f"{path or type(network).__name__}.{name}"): Same(value)
        for path, module in network.named_modules()
        for table, kind in REGISTERED.items()
        for name, value in getattr(module, table).items()
    }


def _attributes(network: nn.Module) -> dict[str, list[Any]]:
    """The state of everything else that a network's modules keep, their own classes included."""
    known = {id(part) for part in (*network.modules(), *network.parameters(), *network.buffers())}
    found: dict[str, list[Any]] = {}
    for path, module in network.named_modules():
        for key, value in vars(module).items():
            if key not in REGISTERED:
                name = f"{path or type(network).__name__}.{key}"
                try:
                    found[name] = state_of(value, known)
                except UnreadableError as problem:
                    raise UnreadableError(f"the network keeps {name}, whose state cannot be read ({problem})") from None
    for kind in {kind for module in network.modules() for kind in _own_classes(module)}:
        for key, value in vars(kind).items():
            if not (key.startswith("__") or callable(value) or hasattr(value, "__get__")):
                with suppress(UnreadableError):  # such as the registry of an abstract class
                    found[f"{kind.__name__}.{key}"] = state_of(value, known)
    return found


def _own_classes(module: nn.Module) -> list[type]:
    """The classes of a module that are not torch's."""
    return [kind for kind in type(module).__mro__ if kind.__module__.partition(".")[0] not in ("torch", "builtins")]


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate(), "torch's on the CPU": torch.get_rng_state().tolist()}
    if "numpy" in sys.modules:
        states["numpy"] = state_of(sys.modules["numpy"].random.get_state())
    return states


@contextmanager
def random_states_kept() -> Iterator[None]:
    """After this block every global random number generator is as it was before it.

    Where CUDA has not started in this process nothing is asked of it: that would start it, or fail where it cannot.
    """
    bring_back = remembered_random_states()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        bring_back()
