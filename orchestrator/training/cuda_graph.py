"""On CUDA: a whole step recorded once as a graph and replayed, so that the host launches one thing a step."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from orchestrator.text import first_line

_logger = logging.getLogger(__name__)


class GraphedCallable:
    """``work(size)``, recorded at the first call with a size and replayed from then on, to the same bits.

    ``work`` may read and write only tensors that stay where they are, and tells ``state()`` every one that it changes.
    Before a recording is used it is held against a computed run from the same state; what has to wait for the device,
    keeps a state on the host (``probe`` says so) or does not agree is computed from then on, and one line says why.
    """

    def __init__(
        self,
        what: str,
        work: Callable[[int], object],
        probe: Callable[[int], str | None],
        network: nn.Module,
        state: Callable[[], Iterable[Tensor]],
        fixed: Callable[[], object] = lambda: None,
        exact: bool = True,
    ) -> None:
        """``probe(size)`` says why the work must not be recorded, or None, and changes nothing.

        ``fixed()`` are the numbers that a recording holds as they are now: where they change it is made anew.

        ``exact`` is false where even two computed runs need not agree to the bit: they are not compared then.
        """
        self.what, self.work, self.probe, self.network = what, work, probe, network
        self.state, self.fixed = state, fixed
        self.exact = exact
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.problem: str | None = None  # why work is not replayed
        self._fixed: object = None

    def __call__(self, size: int) -> None:
        """Do the work, or replay it."""
        if self.problem is None:
            if self._fixed != (fixed := self.fixed()):
                self.close()
                self._fixed = fixed
            if size not in self.graphs:
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

    def _record(self, size: int) -> None:
        try:
            self.problem = self.probe(size) if not self.graphs else None
            self.problem = self.problem or self._attempt(size)
        except RuntimeError as problem:  # what a capture does not allow, and what memory does not hold
            self.problem = first_line(problem)
            _end_failed_capture()
        if self.problem is not None:
            self.close()
            self._forget_gradients()
            _logger.warning("%s is not recorded as a CUDA graph: %s", self.what, self.problem)

    def _attempt(self, size: int) -> str | None:
        """Record the work for ``size``, leaving everything as it was. Returns why the recording cannot be used."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), unchanged(self.state):
            self.work(size)  # libraries choose their kernels, the optimiser makes its state
        with torch.cuda.stream(aside), unchanged(self.state):
            with never_waiting():
                self.work(size)
            expected = [tensor.detach().clone() for tensor in self.state()]
            drawn = torch.cuda.get_rng_state()
        torch.cuda.current_stream().wait_stream(aside)
        self._forget_gradients()
        graph = torch.cuda.CUDAGraph()
        with unchanged(self.state):
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.work(size)
            graph.replay()
            found = [tensor.detach().clone() for tensor in self.state()]
            equal = drawn.equal(torch.cuda.get_rng_state())
        if self.exact and not (equal and all(_same(*pair) for pair in zip(expected, found, strict=True))):
            graph.reset()
            return "replayed, it does not give the bits of the computed one"
        self.graphs[size] = graph
        return None

    def _forget_gradients(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None


def changing(network: nn.Module, optimizer: Optimizer, *more: Tensor) -> Callable[[], Iterator[Tensor]]:
    """Every tensor that a training step changes, as they are when asked."""

    def tensors() -> Iterator[Tensor]:
        yield from more
        yield from network.parameters()
        yield from network.buffers()
        for state in optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    return tensors


class unchanged:  # noqa: N801
    """Whatever is done within leaves no trace in the tensors of ``state()`` and in the random state of the device."""

    def __init__(self, state: Callable[[], Iterable[Tensor]]) -> None:
        self.state = state

    def __enter__(self) -> None:
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in self.state()]
        self.drawn = torch.cuda.get_rng_state()

    @torch.no_grad()
    def __exit__(self, *problem: object) -> None:
        known = {id(tensor) for tensor, _ in self.tensors}
        for tensor, value in self.tensors:
            tensor.copy_(value)
        for tensor in self.state():
            if id(tensor) not in known:  # an optimiser's state, made within: it begins with zeros
                tensor.zero_()
        torch.cuda.set_rng_state(self.drawn)


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
