"""Parameters and buffers of a new network: none is left from an earlier network, none overlaps itself."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

from orchestrator.errors import VariantError

# The tensors of every network that was built and is still in use: how often each had been changed in place by then, and
# of those that are not trained a copy.
_handed_out = WeakTensorKeyDictionary()


def own_parts(variant: str, network: nn.Module) -> None:
    """Give each tensor of ``network`` memory of its own for each of its elements, and remember them.

    Raises VariantError if the network holds a parameter of an earlier one: a layer that is made once, as a default
    argument or at the top of a file, would start from what the trial before has left in it, and one that is not trained
    would still move to the GPU with every network that has it. A buffer that is made once and stays as it is, such as a
    table of constants, may be shared.
    """
    _separate(network)
    for name, tensor in tensors(network):
        if tensor in _handed_out and (_is_parameter(tensor) or _is_changed(tensor, *_handed_out[tensor])):
            told = "start with what another has trained" if tensor.requires_grad else "share it with another"
            raise VariantError(
                f"{variant}: {name} is that of a network that was built before, so a trial would {told}: a layer or "
                "parameter that is a default argument or stands at the top of a file is made once only; make it in "
                "the constructor (a default of None, or the layer's class)"
            )
    for _, tensor in tensors(network):
        if tensor not in _handed_out:
            may_change = tensor.requires_grad or is_lazy(tensor)
            _handed_out[tensor] = _changes(tensor), None if may_change else tensor.detach().clone()


def _separate(network: nn.Module) -> None:
    """Replace what was expanded, whose elements share memory: nothing can be written to it, such as loaded weights."""
    cloned: dict[int, Tensor] = {}
    for module in network.modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and _overlaps_itself(buffer):
                module._buffers[name] = cloned.setdefault(id(buffer), _contiguous(buffer))
    for parameter in network.parameters():
        if _overlaps_itself(parameter):
            parameter.data = _contiguous(parameter)


def _contiguous(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _overlaps_itself(tensor: Tensor) -> bool:
    """As torch itself asks before it writes to a tensor."""
    return not is_lazy(tensor) and tensor.layout is torch.strided and torch._debug_has_internal_overlap(tensor) == 1


def tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers, with their names."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def _is_parameter(tensor: Tensor) -> bool:
    """Trained or not: networks move their parameters themselves, but replace their buffers by moved ones."""
    return tensor.requires_grad or isinstance(tensor, nn.Parameter)


def _changes(tensor: Tensor) -> int:
    """How often ``tensor`` was changed in place, which torch does not count for those made in inference mode."""
    return -1 if is_lazy(tensor) or tensor.is_inference() else tensor._version


def _is_changed(tensor: Tensor, changes: int, before: Tensor | None) -> bool:
    """Whether it no longer holds what it did; loading weights into it may leave it as it was."""
    if before is None or before.device != tensor.device:
        return True
    return changes != _changes(tensor) and (before.layout is not torch.strided or not torch.equal(before, tensor))
