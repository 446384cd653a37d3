"""On CUDA: a whole step recorded once as a graph and replayed, so that the host launches one thing a step."""

import logging
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from orchestrator.text import first_line
from orchestrator.training.host_state import REGISTERED, HostState, random_states_kept

_logger = logging.getLogger(__name__)


class GraphedCallable:
    """``work(size)``, recorded at the first call with a size and replayed from then on, to the same bits.

    ``work`` may read and write only tensors that stay where they are. What it changes are the parameters and buffers of
    ``network``, the state of ``optimizer`` and the tensors of ``more``. Before a recording is used it is held against a
    computed run from the same state; what has to wait for the device, keeps a state on the host (``probe`` or a run
    says so) or does not agree is computed from then on, and one line says why.
    """

    def __init__(
        self,
        what: str,
        work: Callable[[int], object],
        probe: Callable[[int], str | None],
        network: nn.Module,
        more: Sequence[Tensor],
        optimizer: Optimizer | None = None,
        fixed: Callable[[], object] = lambda: None,
        exact: bool = True,
        period: Callable[[], object] = object,
    ) -> None:
        """``probe(size)`` says why the work must not be recorded, or None, and changes nothing.

        ``fixed()`` are the numbers that a recording holds as they are now: where they change it is made anew.

        ``exact`` is false where even two computed runs need not agree to the bit: they are not compared then.

        Between recording and replaying something else may use the network. That it is still the one that was recorded,
        but for its values, is looked at in every new ``period()``: by default, at every call.
        """
        self.what, self.work, self.probe, self.fixed, self.exact = what, work, probe, fixed, exact
        self.network, self.changing = network, Changing(network, more, optimizer)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.problem: str | None = None  # why work is not replayed
        self.period = period
        self._fixed: object = None
        self._period: object = None
        self._host_state: HostState | None = None  # of the network that was recorded

    def __call__(self, size: int) -> None:
        """Do the work, or replay it."""
        if self.problem is None:
            self._check()
            if self.problem is None and size not in self.graphs:
                self._record(size)
        if self.problem is None:
            self.graphs[size].replay()
        else:
            self.work(size)

    def close(self) -> None:
        """Give the memory of all recordings back."""
        for graph in self.graphs.values():
            graph.reset()
        self.graphs.clear()

    def _check(self) -> None:
        """Whether what was recorded is still so; otherwise the recordings are of no use."""
        if self._fixed != (fixed := self.fixed()):
            self.close()
            self._fixed = fixed
        if self._period != (period := self.period()):
            self._period = period
            if self._host_state is not None and (problem := self._host_state.change()):
                self._compute_instead(problem)

    def _record(self, size: int) -> None:
        try:
            problem = self.probe(size) if not self.graphs else None
            problem = problem or self._attempt(size)
        except RuntimeError as raised:  # what a capture does not allow, and what memory does not hold
            problem = first_line(raised)
            _end_failed_capture()
        if problem is not None:
            self._compute_instead(problem)
        elif self._host_state is None:
            self._host_state = HostState(self.network)

    def _compute_instead(self, problem: str) -> None:
        self.problem, self._host_state = problem, None
        self.close()
        self._forget_gradients()
        _logger.warning("%s is not recorded as a CUDA graph: %s", self.what, problem)

    def _attempt(self, size: int) -> str | None:
        """Record the work for ``size``, leaving everything as it was. Returns why the recording cannot be used."""
        with on_side_stream(), random_states_kept(), unchanged(self.changing):
            before = HostState(self.network)
            self.work(size)  # libraries choose their kernels, the optimiser makes its state
            if problem := before.change() or before.draws():  # as by the backward pass, which no probe takes
                return problem
        with on_side_stream(), unchanged(self.changing):
            with never_waiting():
                self.work(size)
            expected = [tensor.detach().clone() for tensor in self.changing.tensors()]
            drawn = torch.cuda.get_rng_state()
        self._forget_gradients()
        graph = torch.cuda.CUDAGraph()
        with unchanged(self.changing):
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.work(size)
            graph.replay()
            found = [tensor.detach().clone() for tensor in self.changing.tensors()]
            equal = drawn.equal(torch.cuda.get_rng_state())
        if self.exact and not (equal and all(_same(*pair) for pair in zip(expected, found, strict=True))):
            graph.reset()
            return "replayed, it does not give the bits of the computed one"
        self.graphs[size] = graph
        return None

    def _forget_gradients(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None


class Changing:
    """What a step changes: a network, the state of its optimiser, and ``more`` tensors."""

    def __init__(self, network: nn.Module, more: Sequence[Tensor], optimizer: Optimizer | None) -> None:
        self.network, self.more, self.optimizer = network, more, optimizer

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor that a step changes, as they are when asked."""
        yield from self.more
        yield from self.network.parameters()
        yield from self.network.buffers()
        yield from self.optimizer_state()

    def optimizer_state(self) -> Iterator[Tensor]:
        """Those that an optimiser may only make in its first step."""
        for state in self.optimizer.state.values() if self.optimizer else ():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def tables(self) -> Iterator[MutableMapping[str, Any]]:
        """Where the modules keep their parameters, buffers, modules and other attributes, by name."""
        for module in self.network.modules():
            yield vars(module)
            yield from (getattr(module, table) for table in REGISTERED)


class unchanged:  # noqa: N801
    """Whatever is done within leaves no trace in what is ``changing``, nor in the random state of the device.

    Parameters, buffers, modules and other attributes that were replaced or added are put back, the objects themselves.
    """

    def __init__(self, changing: Changing) -> None:
        self.changing = changing

    def __enter__(self) -> None:
        self.tables = [(table, dict(table)) for table in self.changing.tables()]
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in self.changing.tensors()]
        self.drawn = torch.cuda.get_rng_state()

    @torch.no_grad()
    def __exit__(self, *problem: object) -> None:
        for table, entries in self.tables:
            if table.keys() != entries.keys() or any(table[key] is not value for key, value in entries.items()):
                table.clear()
                table.update(entries)
        known = {id(tensor) for tensor, _ in self.tensors}
        for tensor, value in self.tensors:
            with torch.inference_mode() if tensor.is_inference() else nullcontext():
                tensor.copy_(value)
        for tensor in self.changing.optimizer_state():
            if id(tensor) not in known:  # made within: it begins with zeros
                tensor.zero_()
        torch.cuda.set_rng_state(self.drawn)


@contextmanager
def on_side_stream() -> Iterator[None]:
    """On another stream than the current one, and after all of its work; its own work goes on after this."""
    current, aside = torch.cuda.current_stream(), _side_stream(torch.cuda.current_device())
    aside.wait_stream(current)
    try:
        with torch.cuda.stream(aside):
            yield
    finally:
        current.wait_stream(aside)


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """One a process and device: cuBLAS keeps a workspace of many MiB for every stream that it has ever worked on."""
    return torch.cuda.Stream(device)


@contextmanager
def never_waiting() -> Iterator[None]:
    """Whatever would make the host wait for the device raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _end_failed_capture() -> None:
    """After a capture that failed torch's generator still takes itself to be captured: one that succeeds ends that."""
    with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.zeros(1, device="cuda")


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())
