"""Parameters and buffers of a new network: their memory is its own, and none is that of an earlier network."""

from collections import defaultdict
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils.weak import WeakTensorKeyDictionary

from orchestrator.errors import VariantError

# The tensors of every network that was built and is still in use: how often each had been changed in place by then, and
# of those that are not trained a copy.
_handed_out = WeakTensorKeyDictionary()


def refuse_shared(variant: str, network: nn.Module) -> None:
    """Raise VariantError if ``network``, just made, holds a parameter of an earlier one.

    A layer that is made once, as a default argument or at the top of a file, would start from what the trial before has
    left in it, and one that is not trained would still move to the GPU with every network that has it. A buffer that is
    made once and stays as it is, such as a table of constants, may be shared.
    """
    for name, tensor in tensors(network):
        if tensor in _handed_out and (_is_parameter(tensor) or _is_changed(tensor, *_handed_out[tensor])):
            told = "start with what another has trained" if tensor.requires_grad else "share it with another"
            raise VariantError(
                f"{variant}: {name} is that of a network that was built before, so a trial would {told}: a layer or "
                "parameter that is a default argument or stands at the top of a file is made once only; make it in "
                "the constructor (a default of None, or the layer's class)"
            )


def own_parts(network: nn.Module) -> None:
    """Give the tensors of ``network`` memory of their own, where they have not been given it, and remember them.

    A parameter that is made from a tensor, such as pretrained weights at the top of a file, shares its memory, so that
    training would change them for the trials that come later. Tensors of the network go on sharing memory with one
    another.
    """
    _separate(network)
    for _, tensor in tensors(network):
        if tensor not in _handed_out:
            may_change = tensor.requires_grad or is_lazy(tensor)
            _handed_out[tensor] = _changes(tensor), None if may_change else tensor.detach().clone()


def _separate(network: nn.Module) -> None:
    """Copy the memory of what has not been handed out where anything else has it too, one storage after the other.

    What was expanded, whose elements share memory, is written out: nothing could be written to it, such as weights.
    """
    sharing: dict[int, dict[int, Tensor]] = defaultdict(dict)  # by storage and id
    for _, tensor in tensors(network):
        if not _has_memory(tensor):
            continue
        if tensor not in _handed_out and torch._debug_has_internal_overlap(tensor) == 1:  # what torch itself asks
            _replace(network, tensor, tensor.detach().clone(memory_format=torch.contiguous_format))
        else:
            sharing[tensor.untyped_storage()._cdata][id(tensor)] = tensor
    for storage, those in sharing.items():
        if any(tensor in _handed_out for tensor in those.values()) or not _is_held(storage, those.values()):
            continue
        views = [part for part in _other_views(network) if part.untyped_storage()._cdata == storage]
        every = [*those.values(), *views]
        copied = every[0].untyped_storage().clone() if len(every) > 1 else None
        for tensor in every:
            _replace(network, tensor, tensor.detach().clone() if copied is None else _viewed(tensor, copied))


def _is_held(storage: int, those: Collection[Tensor]) -> bool:
    """Whether anything but ``those`` tensors has the memory of ``storage``: another tensor, an array, a file."""
    kept = next(iter(those)).untyped_storage()  # counts too
    return not kept.resizable() or torch._C._storage_Use_Count(storage) > len(those) + 1


def _viewed(tensor: Tensor, storage: torch.UntypedStorage) -> Tensor:
    """``tensor`` with the same elements of another storage."""
    view = tensor.data
    with torch.no_grad():
        return view.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())


def _replace(network: nn.Module, old: Tensor, new: Tensor) -> None:
    """A parameter stays the same object, which a list may have too; another tensor may be one of the user's own."""
    if isinstance(old, nn.Parameter):
        old.data = new
        return
    for module in network.modules():
        for place in (module._buffers, vars(module)):
            for name in [name for name, tensor in place.items() if tensor is old]:
                place[name] = new.requires_grad_(old.requires_grad)


def _other_views(network: nn.Module) -> list[Tensor]:
    """The tensors that are plain attributes."""
    kept = {id(part): part for module in network.modules() for part in vars(module).values()}
    return [part for part in kept.values() if isinstance(part, Tensor) and not part.requires_grad and _has_memory(part)]


def _has_memory(tensor: Tensor) -> bool:
    """Whether it is an ordinary tensor with elements."""
    if is_lazy(tensor) or tensor.is_meta or tensor.is_nested or tensor.is_quantized or tensor.numel() == 0:
        return False
    return tensor.layout is torch.strided and not is_traceable_wrapper_subclass(tensor)


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
