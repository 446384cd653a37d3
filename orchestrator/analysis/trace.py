"""Run a network once and record it: with torch.fx if it can be traced, else with forward hooks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from orchestrator.analysis.copy_network import copy_on, dtype_of
from orchestrator.analysis.field import image_field
from orchestrator.analysis.operations import AVERAGE, MAXIMUM, RESHAPES, UPSAMPLING
from orchestrator.analysis.outputs import LOGITS, main_output
from orchestrator.analysis.record import BATCH, Recorder, attach, known, tensors_in
from orchestrator.analysis.recorded import Known, Operation, TracedLayer

Shape = tuple[int, int, int]  # channels, height, width
# Parameters: up to here a forward pass takes less than importing torch's compiler, which some operations of the meta
# device do, ReLU among them.
SMALL = 5_000_000
CASTS = ("to", "_to_copy")
TRAINING_BATCH = 16  # more than any network asks for before it does what it does with a real batch


@dataclass
class Trace:
    """Everything that one forward pass showed."""

    layers: list[TracedLayer] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    opaque: set[str] = field(default_factory=set)  # operations that are not torch's own: anything may be in them
    uncounted: set[str] = field(default_factory=set)  # operations whose multiply-accumulates are not known
    output: Known | None = None
    output_shape: tuple[int, ...] = ()  # with the batch
    traced_by: Literal["torch.fx", "hooks"] = "torch.fx"
    graph: fx.GraphModule | None = None  # by torch.fx, if that could trace it
    needs_values: str = ""  # why it could not be run without values; then another image may take another way
    notes: list[str] = field(default_factory=list)


class _OtherwiseError(Exception):
    """What torch.fx has traced is not what the network computes."""


def trace(network: nn.Module, shape: Shape, training: bool = False) -> Trace:
    """Record ``network``, in evaluation mode, on an image of ``shape``; the network itself is not touched.

    In ``training`` mode gradients are recorded, there are more images in the batch, and it is not traced with torch.fx.

    It is copied, traced with torch.fx, and its graph run node by node: a small network's with its real weights, a
    large one's on the meta device, where tensors have shapes but no values. It is run without torch.fx as well: that
    does not see everything, such as another ``forward`` of this one object, or what a hook keeps. Where this computes
    something else, and where torch.fx cannot trace it, it is run with forward hooks: on the meta device if that works,
    for then its way cannot depend on the image's values, and else with its real weights.
    """
    reasons: list[str] = []
    is_graph = False  # whether its way is that of a graph by torch.fx, which knows no values
    ways = _ways(network, training)
    for run, device in ways:
        try:
            found = _traced(network, shape, training, run, device)
            plain = _traced(network, shape, training, _by_hooks, device) if run is _by_fx else found
            if _computed(found) != _computed(plain):
                is_graph = _way(found) == _way(plain)
                raise _OtherwiseError("it computes something else than its graph, in a hook perhaps")
            break
        except Exception as problem:  # a user's network may raise anything while it is traced
            if (run, device) == ways[-1]:
                raise
            reasons.append(first_line(problem))
    if reasons and found.traced_by == "hooks":
        found.notes.insert(0, f"torch.fx cannot trace it ({reasons[0]}): forward hooks are used instead")
    if reasons and run is _by_hooks and device == "cpu" and not is_graph:
        found.needs_values = f"it cannot run without values ({reasons[-1]}), so another image may take another path"
    return found


def _traced(network: nn.Module, shape: Shape, training: bool, run: Callable[..., Any], device: str) -> Trace:
    copied = copy_on(network, device)
    copied.train(training)  # a network's own may return nothing
    found = Trace()
    with _recording(shape, device, dtype_of(copied), training) as (recorder, batch):
        recorder.count_states(copied)
        output = run(copied, batch, recorder, found)
    found.operations, found.uncounted, found.opaque = recorder.operations, recorder.uncounted, recorder.opaque
    _take_output(found, recorder, output)
    return found


def _computed(found: Trace) -> list[Any]:
    """What a trace shows of the network itself, however it was made; torch.fx makes ``x += y`` a new tensor."""
    steps = [
        (o.name.removesuffix("_"), o.arguments, o.shape, [i.operation for i in o.inputs]) for o in found.operations
    ]
    return [*steps, found.output.operation if found.output else None, found.output_shape]


def _way(found: Trace) -> list[Any]:
    """What was computed in which order, but for what torch.autocast casts, which no graph has."""
    return [(o.name.removesuffix("_"), o.shape) for o in found.operations if o.name not in CASTS]


def _ways(network: nn.Module, training: bool) -> list[tuple[Callable[..., Any], str]]:
    """How to run ``network``, and on which device, in the order in which it is tried."""
    if any(p.is_meta for p in network.parameters()):  # it has no values to run with
        return [(_by_fx, "meta"), (_by_hooks, "meta")][training:]
    small = sum(p.numel() for p in network.parameters()) <= SMALL
    if training:
        return [(_by_hooks, "cpu")] if small else [(_by_hooks, "meta"), (_by_hooks, "cpu")]
    return [(_by_fx, "cpu" if small else "meta"), (_by_hooks, "meta"), (_by_hooks, "cpu")]


@contextmanager
def _recording(shape: Shape, device: str, dtype: torch.dtype, training: bool) -> Iterator[tuple[Recorder, Tensor]]:
    """The recorder at work, and the batch of images that it records."""
    recorder = Recorder()
    fused, flash = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    deterministic = torch.get_deterministic_debug_mode()  # after a training: then torch computes some layers otherwise
    images = TRAINING_BATCH if training else BATCH
    values = torch.randn(images, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    gradients = torch.enable_grad() if training else torch.inference_mode()
    onednn = torch._C._get_mkldnn_enabled()
    with gradients, torch.random.fork_rng(devices=[]), torch.device(device):
        batch = torch.empty(values.shape, dtype=dtype) if device == "meta" else values.clone()
        recorder.start(batch, image_field(batch.shape))
        torch.backends.mha.set_fastpath_enabled(False)  # one fused operation would hide what is computed
        torch.backends.cuda.enable_flash_sdp(False)  # on a CPU too
        torch._C._set_mkldnn_enabled(False)  # on a CPU it takes a recurrent layer as one operation
        torch.set_deterministic_debug_mode(0)
        try:
            with recorder:
                yield recorder, batch
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            torch.backends.cuda.enable_flash_sdp(flash)
            torch._C._set_mkldnn_enabled(onednn)
            torch.set_deterministic_debug_mode(deterministic)


class _Layers:
    """Writes down a layer each time that a module or function has run."""

    def __init__(self, recorder: Recorder, found: Trace) -> None:
        self._recorder, self._found = recorder, found

    def begin(self, given: Iterable[Any]) -> tuple[int, list[Known | None]]:
        """What :meth:`end` needs to know of the time before: the number of operations, and what is known of inputs."""
        return len(self._recorder.operations), [known(value) for value in given if isinstance(value, Tensor)]

    def end(
        self, begun: tuple[int, list[Known | None]], name: str, kind: str, module: nn.Module | None, result: Any
    ) -> None:
        """Write the layer down, and let what it made come from it; a function that changes nothing is passed over."""
        first, inputs = begun
        made = [t for t in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(t, Tensor)]
        output = next((seen for tensor in made if (seen := self._recorder.look(tensor))), None)
        operations = tuple(self._recorder.operations[first:])
        if output is None or (module is None and not any(_matters(operation) for operation in operations)):
            return
        sources = tuple(dict.fromkeys(name for before in inputs if before for name in before.sources))
        block = name.split(".")[0] if module is not None or "." in name else ""
        shape = tuple(made[0].shape)
        self._found.layers.append(TracedLayer(name, kind, block, module, sources, operations, output, shape))
        for tensor in made:
            if (seen := known(tensor)) is not None:
                attach(tensor, Known(seen.field, (name,), seen.operation))


def _by_fx(network: nn.Module, batch: Tensor, recorder: Recorder, found: Trace) -> Any:
    found.graph = fx.GraphModule(network, fx.Tracer().trace(network))
    return _Nodes(found.graph, _Layers(recorder, found)).run(batch)


class _Nodes(fx.Interpreter):
    """Runs a graph and writes down a layer for each leaf module and each function."""

    def __init__(self, module: fx.GraphModule, layers: _Layers) -> None:
        super().__init__(module)
        self.layers = layers

    def run_node(self, n: fx.Node) -> Any:
        begun = self.layers.begin(self.env.get(source) for source in n.all_input_nodes)
        result = super().run_node(n)
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            self.layers.end(begun, str(n.target), type(module).__name__, module, result)
        elif n.op in ("call_function", "call_method"):
            stack = list((n.meta.get("nn_module_stack") or {}).values())
            path = f"{stack[-1][0]}." if stack and stack[-1][0] else ""
            kind = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
            self.layers.end(begun, path + n.name, kind, None, result)
        return result


def _by_hooks(network: nn.Module, batch: Tensor, recorder: Recorder, found: Trace) -> Any:
    found.traced_by = "hooks"
    layers = _Layers(recorder, found)
    begun: list[tuple[int, list[Known | None]]] = []
    names = {module: name for name, module in network.named_modules() if name and _is_leaf(module)}
    for module in names:
        if not isinstance(module, torch.jit.ScriptModule):  # these take no hooks
            module.register_forward_pre_hook(lambda module, given: begun.append(layers.begin(given)))
            module.register_forward_hook(
                lambda module, given, result: layers.end(
                    begun.pop(), names[module], type(module).__name__, module, result
                )
            )
    return network(batch)


def _is_leaf(module: nn.Module) -> bool:
    """Whether it is one layer: without children, or one of torch's own that torch.fx does not look into."""
    return not list(module.children()) or fx.Tracer().is_leaf_module(module, "")


def _matters(operation: Operation) -> bool:
    """Whether a function that does this gets a row of its own: it joins, mixes positions, or flattens."""
    return (
        len(operation.inputs) > 1
        or operation.macs > 0
        or operation.name in ROWS
        or (operation.name in RESHAPES and len(operation.shape) < len(operation.arguments["self"]))
    )


OTHERS = ("convolution", "sum", "amax", "max", "cat", "stack", "pixel_shuffle", "pixel_unshuffle", "im2col", "_softmax")
ROWS = frozenset((*AVERAGE, *MAXIMUM, *UPSAMPLING, *OTHERS, "native_layer_norm", "native_group_norm", "roll", "glu"))


def _take_output(found: Trace, recorder: Recorder, output: Any) -> None:
    logits = main_output(output)
    which = "its part 'logits'" if isinstance(output, dict) and LOGITS in output else "the first one"
    if not isinstance(logits, Tensor):
        logits = next(tensors_in(output), None)
    if logits is None:
        raise TypeError(f"its output is of type {type(output).__name__} and holds no tensor")
    found.output, found.output_shape = recorder.look(logits), tuple(logits.shape)
    if logits is not output:
        found.notes.append(f"it returns several tensors: {which} is used as its output")


def first_line(problem: Exception) -> str:
    """Its type and what it says, in one line."""
    if isinstance(problem, _OtherwiseError):
        return str(problem)
    return f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
