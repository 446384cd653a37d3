"""A network made ready to learn where it was placed: moved, laid out, its slow layers replaced by equal faster ones.

Names, weights and state dict stay what they are: only how a layer computes what it computes changes.
"""

from torch import nn

from orchestrator.training.convolutions import faster_class
from orchestrator.training.device import Placement
from orchestrator.training.dropout import SparseDropout


def prepare(network: nn.Module, placement: Placement) -> None:
    """Move the network to its device and layout, and replace layers by faster ones."""
    network.to(device=placement.device, memory_format=placement.memory_format)  # type: ignore[call-overload]
    replace_layers(network, placement.device.type)


def replace_layers(network: nn.Module, device: str = "cpu") -> None:
    """Replace torch's own convolutions and dropout layers by faster ones; a user's subclasses of them are left."""
    replacements: dict[nn.Module, nn.Module] = {}
    for path, layer in list(network.named_modules(remove_duplicate=False)):
        kind: type[nn.Module] = type(layer)
        if kind is nn.Conv2d:
            kind = faster_class(layer, device)
        elif kind is nn.Dropout and device == "cpu":
            kind = SparseDropout
        if path and kind is not type(layer):
            replacement = replacements.setdefault(layer, with_class(layer, kind))  # a shared layer stays shared
            network.set_submodule(path, replacement)


def with_class(layer: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A module of the class ``kind`` with the state of ``layer``: parameters, mode, settings and hooks are one.

    So a reference to ``layer`` that the network keeps outside of its modules follows every change of the replacement.
    """
    replacement = kind.__new__(kind)
    replacement.__dict__ = layer.__dict__
    return replacement
