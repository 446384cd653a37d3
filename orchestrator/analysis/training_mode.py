"""What a network computes when it trains, where that differs from what it computes in evaluation."""

from collections.abc import Sequence

import torch
from torch import fx, nn

from orchestrator.analysis.copy_network import copy_on
from orchestrator.analysis.recorded import Operation
from orchestrator.analysis.trace import Shape, Trace, trace


def training_operations(network: nn.Module, shape: Shape, evaluated: Trace) -> Sequence[Operation]:
    """What ``network`` computes when it trains; nothing if it cannot be run so. ``evaluated`` is its trace.

    Where torch.fx traces it to the same graph in both modes, and that has torch's own layers and functions only, the
    operations are those of the evaluation. Otherwise it is run on a batch in training mode, with gradients.
    """
    try:
        if evaluated.graph is not None and _is_the_same_in_training(evaluated.graph, network):
            return evaluated.operations
        return trace(network, shape, training=True).operations
    except Exception:  # whatever a user's network raises in training mode; its training says so
        return ()


def _is_the_same_in_training(evaluated: fx.GraphModule, network: nn.Module) -> bool:
    described = _described(evaluated, evaluated.graph)
    copied = copy_on(network, "meta")
    copied.train()  # a network's own may return nothing
    try:
        with torch.enable_grad():
            return described is not None and described == _described(copied, fx.Tracer().trace(copied))
    except Exception:  # whatever a user's network raises while it is traced
        return False


def _described(network: nn.Module, graph: fx.Graph) -> list[str] | None:
    """Every node with its module; None if a function is neither torch's nor Python's.

    A module that torch.fx leaves whole is one of torch's own.
    """
    described = []
    for node in graph.nodes:
        package = (getattr(node.target, "__module__", None) or "torch").split(".")[0]
        if node.op == "call_function" and package not in ("torch", "_operator", "builtins", "math"):
            return None
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else ""
        described.append(f"{node.format_node()} {module}")
    return described
