"""CUDA graphs without a GPU: what torch dispatches is recorded, and replayed on the CPU.

As on a GPU, a replay does what was done while recording with the tensors of then, wherever they are, and nothing of
Python; recording itself changes no tensor. Only what is read and written is so, not when, and no memory is shared.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Graph:
    """In place of torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], Any, dict[str, Any], Any]] = []

    def reset(self) -> None:
        self.calls.clear()

    @torch.inference_mode()
    def replay(self) -> None:
        for function, arguments, named, result in self.calls:
            again = function(*arguments, **named)
            for place, value in zip(_tensors(result), _tensors(again), strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)


class Recording(TorchDispatchMode):
    """In place of torch.cuda.graph."""

    def __init__(self, graph: Graph, **_: Any) -> None:
        super().__init__()
        self.graph = graph
        self.made: set[int] = set()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        for tensor in _tensors((args, named)):
            place = tensor.data_ptr()
            if place not in self.made and place not in self.before:
                self.before[place] = (tensor, tensor.clone())
        result = function(*args, **named)
        self.made |= {tensor.data_ptr() for tensor in _tensors(result)} - self.before.keys()
        self.graph.calls.append((function, args, named, result))
        return result

    def __exit__(self, *problem: object) -> None:
        super().__exit__(*problem)
        with torch.inference_mode():
            for tensor, value in self.before.values():
                tensor.detach().copy_(value)


class Stream:
    """In place of torch.cuda.Stream; ``made`` counts them."""

    made = 0

    def __init__(self, *_: object) -> None:
        Stream.made += 1

    def wait_stream(self, other: "Stream") -> None:
        pass


def replay_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test ends, have CUDA graphs recorded and replayed here."""
    current = Stream()
    replacements = {
        "CUDAGraph": Graph,
        "graph": Recording,
        "Stream": Stream,
        "current_stream": lambda: current,
        "current_device": lambda: -1,  # one that is nowhere: what is kept for it is for no GPU
        "stream": lambda stream: nullcontext(),
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: None,
    }
    for name, replacement in replacements.items():
        monkeypatch.setattr(torch.cuda, name, replacement)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
