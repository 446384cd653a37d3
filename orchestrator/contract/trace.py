"""Run a network once under the follower: with torch.fx if it can be traced, else with forward hooks."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from orchestrator.contract.follow import PICTURES, Follower, Mark, Operation, attach, mark_of, tensors_in
from orchestrator.contract.rules import AVERAGE, MAXIMUM, UPSAMPLING
from orchestrator.contract.view import picture

Shape = tuple[int, int, int]  # channels, height, width
# Parameters: up to here a forward pass takes less than importing torch's compiler, which some operations of the meta
# device do, ReLU among them.
SMALL = 5_000_000
PICTURES_IN_TRAINING = 16  # more than any network asks for before it does what it does with a real batch


@dataclass
class TracedLayer:
    """One layer's turn: the module or function, and the operations that it carried out."""

    name: str
    type: str
    block: str
    module: nn.Module | None
    sources: tuple[str, ...]
    operations: tuple[Operation, ...]
    output: Mark
    shape: tuple[int, ...]  # with the batch


@dataclass
class Trace:
    """Everything that one forward pass showed."""

    layers: list[TracedLayer] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    opaque: set[str] = field(default_factory=set)  # operations that are not torch's own: anything may be in them
    uncounted: set[str] = field(default_factory=set)  # operations whose multiply-accumulates are not known
    output: Mark | None = None
    output_shape: tuple[int, ...] = ()  # with the batch
    traced_by: Literal["torch.fx", "hooks"] = "torch.fx"
    needs_values: str = ""  # why it could not be run without values; then another image may take another way
    notes: list[str] = field(default_factory=list)


def trace(network: nn.Module, shape: Shape, training: bool = False) -> Trace:
    """Follow ``network``, in evaluation mode, on an image of ``shape``; the network itself is not touched.

    In ``training`` mode gradients are recorded, and there are more images in the batch.

    It is copied, traced with torch.fx, and its graph run node by node: a small network's with its real weights, a
    large one's on the meta device, where tensors have shapes but no values. What torch.fx cannot trace is run with
    forward hooks: on the meta device if that works, for then its way cannot depend on the image's values, and else
    with its real weights.
    """
    reasons = []
    small = sum(p.numel() for p in network.parameters()) <= SMALL
    for run, device in ((_by_fx, "cpu" if small else "meta"), (_by_hooks, "meta"), (_by_hooks, "cpu")):
        copied = _copied(network, device).train(training)
        found = Trace()
        try:
            with _following(shape, device, _dtype(copied), training) as (follower, batch):
                output = run(copied, batch, follower, found)
        except Exception as problem:  # a user's network may raise anything while it is traced
            if run is _by_hooks and device == "cpu":
                raise
            reasons.append(_first_line(problem))
            continue
        found.operations, found.uncounted, found.opaque = follower.operations, follower.uncounted, follower.opaque
        _take_output(found, follower, output)
        break
    if found.traced_by == "hooks":
        found.notes.insert(0, f"torch.fx cannot trace it ({reasons[0]}): forward hooks are used instead")
    if run is _by_hooks and device == "cpu":
        found.needs_values = f"it cannot run without values ({reasons[-1]}), so another image may take another path"
    return found


@contextmanager
def _following(shape: Shape, device: str, dtype: torch.dtype, training: bool) -> Iterator[tuple[Follower, Tensor]]:
    """The follower at work, and a marked batch of images."""
    follower = Follower()
    fused, flash = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    deterministic = torch.get_deterministic_debug_mode()  # after a training: then torch computes some layers otherwise
    pictures = PICTURES_IN_TRAINING if training else PICTURES
    values = torch.randn(pictures, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    gradients = torch.enable_grad() if training else torch.inference_mode()
    with gradients, torch.random.fork_rng(devices=[]), torch.device(device):
        batch = torch.empty(values.shape, dtype=dtype) if device == "meta" else values.clone()
        follower.start(batch, picture(batch.shape))
        torch.backends.mha.set_fastpath_enabled(False)  # one fused operation would hide what is computed
        torch.backends.cuda.enable_flash_sdp(False)  # on a CPU too
        torch.set_deterministic_debug_mode(0)
        try:
            with follower:
                yield follower, batch
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            torch.backends.cuda.enable_flash_sdp(flash)
            torch.set_deterministic_debug_mode(deterministic)


def _dtype(network: nn.Module) -> torch.dtype:
    """Of the network's parameters; images are given to it in the same."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def _copied(network: nn.Module, device: str) -> nn.Module:
    """A copy whose tensors are on ``device``: on the meta device it takes no memory for weights."""
    memo: dict[int, Any] = {}
    for module in network.modules():
        held = [vars(module), *(value for value in vars(module).values() if isinstance(value, dict))]
        for tensor in tensors_in([list(attributes.values()) for attributes in held]):
            moved = tensor.detach().to("meta") if device == "meta" else tensor.detach().clone().to(device)
            memo[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
    try:
        return copy.deepcopy(network, dict(memo))
    except Exception:  # an attribute that cannot be copied (a lock, a file) is shared instead
        for module in network.modules():
            for value in vars(module).values():
                if not _can_be_copied(value, memo):
                    memo[id(value)] = value
        return copy.deepcopy(network, memo)


def _can_be_copied(value: Any, memo: dict[int, Any]) -> bool:
    if isinstance(value, dict) and any(isinstance(item, nn.Module) for item in value.values()):
        return True  # its children are looked at on their own
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # whatever an object raises that does not want to be copied
        return False
    return True


def _by_fx(network: nn.Module, batch: Tensor, follower: Follower, found: Trace) -> Any:
    graph = fx.Tracer().trace(network)
    return _Nodes(fx.GraphModule(network, graph), follower, found).run(batch)


class _Nodes(fx.Interpreter):
    """Runs a graph and writes down a layer for each leaf module and each function."""

    def __init__(self, module: fx.GraphModule, follower: Follower, found: Trace) -> None:
        super().__init__(module)
        self.follower, self.found = follower, found

    def run_node(self, n: fx.Node) -> Any:
        first = len(self.follower.operations)
        sources = tuple(self.env[a] for a in n.all_input_nodes if isinstance(self.env.get(a), Tensor))
        marks = [mark_of(tensor) for tensor in sources]
        result = super().run_node(n)
        if n.op in ("call_module", "call_function", "call_method"):
            stack = list((n.meta.get("nn_module_stack") or {}).values())
            path = str(stack[-1][0]) if stack else ""
            if n.op == "call_module":
                name, module = str(n.target), self.fetch_attr(str(n.target))
                kind = type(module).__name__
            else:
                name, module = (f"{path}.{n.name}" if path else n.name), None
                kind = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
            block = name.split(".")[0] if path or module is not None else ""
            _write_layer(self.found, self.follower, first, name, kind, block, module, marks, result)
        return result


def _by_hooks(network: nn.Module, batch: Tensor, follower: Follower, found: Trace) -> Any:
    found.traced_by = "hooks"
    starts: list[tuple[int, list[Mark | None]]] = []

    def before(module: nn.Module, given: Any) -> None:
        marks = [mark_of(tensor) for tensor in given if isinstance(tensor, Tensor)]
        starts.append((len(follower.operations), marks))

    def after(module: nn.Module, given: Any, result: Any) -> None:
        first, marks = starts.pop()
        name = names[module]
        _write_layer(found, follower, first, name, type(module).__name__, name.split(".")[0], module, marks, result)

    names = {module: name for name, module in network.named_modules() if name and _is_leaf(module)}
    names = {m: name for m, name in names.items() if not isinstance(m, torch.jit.ScriptModule)}  # these take no hooks
    for module in names:
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    return network(batch)


def _is_leaf(module: nn.Module) -> bool:
    """Whether it is one layer: without children, or one of torch's own that torch.fx does not look into."""
    return not list(module.children()) or fx.Tracer().is_leaf_module(module, "")


def _write_layer(
    found: Trace,
    follower: Follower,
    first: int,
    name: str,
    kind: str,
    block: str,
    module: nn.Module | None,
    marks: list[Mark | None],
    result: Any,
) -> None:
    """Write the layer down, and let what it made come from it; a function that changes nothing is passed over."""
    made = [t for t in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(t, Tensor)]
    output = next((mark for tensor in made if (mark := follower.look(tensor))), None)
    operations = tuple(follower.operations[first:])
    if output is None or (module is None and not any(_matters(operation) for operation in operations)):
        return
    sources = tuple(dict.fromkeys(name for mark in marks if mark for name in mark.sources))
    found.layers.append(TracedLayer(name, kind, block, module, sources, operations, output, tuple(made[0].shape)))
    for tensor in made:
        if (mark := mark_of(tensor)) is not None:
            attach(tensor, Mark(mark.view, (name,), mark.operation))


def _matters(operation: Operation) -> bool:
    """Whether a function that does this gets a row of its own: it joins, mixes positions, or flattens."""
    return (
        len(operation.inputs) > 1
        or operation.macs > 0
        or operation.name in ROWS
        or (operation.name in FLATTENING and len(operation.shape) < len(operation.arguments["self"]))
    )


FLATTENING = ("view", "reshape", "_unsafe_view")
OTHERS = ("convolution", "sum", "amax", "max", "cat", "stack", "pixel_shuffle", "pixel_unshuffle", "im2col", "_softmax")
ROWS = frozenset((*AVERAGE, *MAXIMUM, *UPSAMPLING, *OTHERS, "native_layer_norm", "native_group_norm", "roll", "glu"))


def _take_output(found: Trace, follower: Follower, output: Any) -> None:
    first = next(iter(output.values())) if isinstance(output, dict) else output
    first = first[0] if isinstance(first, (tuple, list)) else first
    found.output, found.output_shape = follower.look(first), tuple(first.shape)
    if first is not output:
        found.notes.append("it returns several tensors: the first one is used as its output")


def _first_line(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
